"""A folder's tensors must be those that its config.json makes necessary, under known names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from reft_megatron.errors import CheckpointError
from reft_megatron.mesh import Axis
from reft_megatron.policy.families import Architecture, find_architecture
from reft_megatron.policy.huggingface.load import Source, fill_rectangle
from reft_megatron.policy.huggingface.mapping import head_of, weights
from reft_megatron.policy.huggingface.reader import WeightFiles

VOCAB = 40
GALACTICA = replace(find_architecture("galactica-tiny"), layers=1, vocab=VOCAB)
CODELLAMA = replace(find_architecture("codellama-7b"), layers=1, hidden=16, ffn=8, vocab=VOCAB)
CODELLAMA = replace(
    CODELLAMA, attention=replace(CODELLAMA.attention, heads=4, groups=2, size=4), name="llama"
)
EMBEDDING = "model.decoder.embed_tokens.weight"


def tensors_of(architecture: Architecture, head: str = "none") -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(shape, generator=generator)
        for weight in weights(architecture, vocab=VOCAB, head=head)
        for name, shape in weight.sources.items()
    }


def check(
    folder: Path, tensors: dict[str, torch.Tensor], architecture: Architecture, head: str = "value"
) -> Source:
    save_file(tensors, folder / "model.safetensors")
    return Source.check(WeightFiles(folder), architecture, vocab=VOCAB, head=head, world=Axis())


WRAPPED: dict[str, Callable[[str], str]] = {
    "as it is": lambda name: name,
    "without its head": lambda name: name.removeprefix("model."),
    "TRL": lambda name: f"pretrained_model.{name}",
    "DistributedDataParallel": lambda name: f"module.{name}",
    "both": lambda name: f"module.pretrained_model.{name}",
}


@pytest.mark.parametrize("wrapper", WRAPPED)
def test_names_of_wrappers_are_known(tmp_path: Path, wrapper: str):
    rename = WRAPPED[wrapper]
    tensors = {rename(name): tensor for name, tensor in tensors_of(GALACTICA).items()}
    source = check(tmp_path, tensors, GALACTICA)
    assert source.names[EMBEDDING] == rename(EMBEDDING)
    assert source.missing == {"value_head.weight", "value_head.bias"}


@pytest.mark.parametrize("wrapper", WRAPPED)
@pytest.mark.parametrize("bare", [(), ("v_head", "score"), ("v_head", "score", "lm_head")])
@pytest.mark.parametrize("head", ["value", "rerank"])
def test_heads_and_outputs_are_found_in_and_beside_wrappers(tmp_path, wrapper, bare, head):
    rename = WRAPPED[wrapper]
    names = {
        name: name if name.startswith(bare) else rename(name)
        for name in tensors_of(CODELLAMA, head)
    }
    tensors = {names[name]: tensor for name, tensor in tensors_of(CODELLAMA, head).items()}
    source = check(tmp_path, tensors, CODELLAMA, head)
    assert source.names == names
    assert source.missing == ({"output_layer.weight"} if head == "rerank" else set())
    assert head_of(tensors) == head


def test_a_second_copy_of_what_is_read_would_be_lost(tmp_path: Path):
    tensors = tensors_of(GALACTICA, "value")
    tensors["module.v_head.summary.bias"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r"holds module\.v_head\.summary\.bias, for which"):
        check(tmp_path, tensors, GALACTICA)


def test_half_a_head_is_refused(tmp_path: Path):
    tensors = tensors_of(GALACTICA, "value")
    del tensors["v_head.summary.bias"]
    with pytest.raises(
        CheckpointError, match=r"has a value head without v_head\.summary\.bias\. S"
    ):
        check(tmp_path, tensors, GALACTICA)


def test_heads_are_taken_where_they_are(tmp_path: Path):
    assert check(tmp_path, tensors_of(GALACTICA, "value"), GALACTICA).missing == set()
    rerank = tensors_of(CODELLAMA, "rerank")
    assert "lm_head.weight" not in rerank
    missing = check(tmp_path, rerank, CODELLAMA, "rerank").missing
    assert missing == {"output_layer.weight"}, "a classifier has none"


def test_a_head_that_is_not_asked_for_is_left(tmp_path: Path):
    source = check(tmp_path, tensors_of(GALACTICA, "rerank"), GALACTICA, "value")
    assert "score.weight" not in source.names


def test_what_is_missing_is_named(tmp_path: Path):
    tensors = tensors_of(GALACTICA)
    del tensors["model.decoder.layers.0.fc1.bias"]
    with pytest.raises(CheckpointError, match=r"lacks 1 of 20 tensors .*: model.*\.fc1\.bias; it"):
        check(tmp_path, tensors, GALACTICA)


def test_what_nothing_would_read_is_named(tmp_path: Path):
    tensors = tensors_of(GALACTICA)
    tensors["model.decoder.layers.1.fc1.bias"] = torch.zeros(3)
    with pytest.raises(CheckpointError, match=r"holds model.decoder.layers.1.fc1.bias, for which"):
        check(tmp_path, tensors, GALACTICA)


def test_buffers_of_old_files_are_no_weights(tmp_path: Path):
    tensors = tensors_of(CODELLAMA)
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(2)
    check(tmp_path, tensors, CODELLAMA)
    tensors = tensors_of(GALACTICA)
    tensors["model.decoder.version"] = torch.zeros(1)
    check(tmp_path, tensors, GALACTICA)


def test_shapes_must_be_those_of_the_configuration(tmp_path: Path):
    tensors = {**tensors_of(GALACTICA), EMBEDDING: torch.zeros(VOCAB + 1, 96)}
    with pytest.raises(CheckpointError, match=r"embed_tokens.weight has shape \[41, 96\], .* \[40"):
        check(tmp_path, tensors, GALACTICA)


@pytest.mark.parametrize("prefix", ["", "module.", "module.pretrained_model."])
def test_a_tied_output_must_be_the_embedding(tmp_path: Path, prefix: str):
    tensors = {prefix + name: tensor for name, tensor in tensors_of(GALACTICA).items()}
    output = prefix + "lm_head.weight"
    tensors[output] = tensors[prefix + EMBEDDING].clone()
    check(tmp_path, tensors, GALACTICA)
    tensors[output][3, 5] += 1
    with pytest.raises(CheckpointError, match=rf"config\.json ties {output} to {prefix}model"):
        check(tmp_path, tensors, GALACTICA)


def test_what_is_not_finite_may_be_tied(tmp_path: Path):
    tensors = tensors_of(GALACTICA)
    tensors[EMBEDDING][0, 0] = torch.nan
    tensors["lm_head.weight"] = tensors[EMBEDDING].clone()
    save_file(tensors, tmp_path / "model.safetensors")
    files = WeightFiles(tmp_path, allow_nonfinite=True)
    Source.check(files, GALACTICA, vocab=VOCAB, head="none", world=Axis())


def test_ranks_share_the_comparison(tmp_path: Path):
    tall = replace(GALACTICA, vocab=2 * 4096 + 1)
    every = weights(tall, vocab=tall.vocab, head="none")
    tensors = {name: torch.ones(shape) for w in every for name, shape in w.sources.items()}
    tensors["lm_head.weight"] = torch.ones_like(tensors[EMBEDDING])
    tensors["lm_head.weight"][4096] = 2
    save_file(tensors, tmp_path / "model.safetensors")
    told = []
    for rank in range(2):
        world = Axis(rank=rank, size=2, ranks=(0, 1))
        try:
            Source.check(WeightFiles(tmp_path), tall, vocab=tall.vocab, head="none", world=world)
        except CheckpointError as error:
            told.append((rank, str(error)))
    ((rank, text),) = told
    assert rank == 1
    assert "the files hold two different tensors" in text


def test_a_rectangle_past_the_end_is_zero(tmp_path: Path):
    source = check(tmp_path, tensors_of(GALACTICA), GALACTICA)
    weight = weights(GALACTICA, vocab=VOCAB, head="none")[0]
    target = torch.full((30, 7), 5.0)
    fill_rectangle(target, weight, source, begin=(20, 3))
    torch.testing.assert_close(target[:20], tensors_of(GALACTICA)[EMBEDDING][20:, 3:10])
    assert not target[20:].any()
