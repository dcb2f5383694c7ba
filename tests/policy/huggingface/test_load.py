"""A folder's tensors must be those that its config.json makes necessary, under known names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from reft_megatron.errors import CheckpointError
from reft_megatron.policy.families import Architecture, find_architecture
from reft_megatron.policy.huggingface.load import Source, fill_rectangle
from reft_megatron.policy.huggingface.mapping import weights
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
    return Source.check(WeightFiles(folder), architecture, vocab=VOCAB, head=head)


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name,
        lambda name: name.removeprefix("model."),
        lambda name: f"pretrained_model.{name}",
        lambda name: f"module.{name}",
    ],
    ids=["as it is", "without its head", "TRL", "DistributedDataParallel"],
)
def test_names_of_wrappers_are_known(tmp_path: Path, rename):
    tensors = {rename(name): tensor for name, tensor in tensors_of(GALACTICA).items()}
    source = check(tmp_path, tensors, GALACTICA)
    assert source.names[EMBEDDING] == rename(EMBEDDING)
    assert source.missing == {"value_head.weight", "value_head.bias"}


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


def test_shapes_must_be_those_of_the_configuration(tmp_path: Path):
    tensors = {**tensors_of(GALACTICA), EMBEDDING: torch.zeros(VOCAB + 1, 96)}
    with pytest.raises(CheckpointError, match=r"embed_tokens.weight has shape \[41, 96\], .* \[40"):
        check(tmp_path, tensors, GALACTICA)


def test_a_tied_output_must_be_the_embedding(tmp_path: Path):
    tensors = tensors_of(GALACTICA)
    tensors["lm_head.weight"] = tensors[EMBEDDING].clone()
    check(tmp_path, tensors, GALACTICA)
    tensors["lm_head.weight"][3, 5] += 1
    with pytest.raises(CheckpointError, match=r"config\.json ties lm_head\.weight to model"):
        check(tmp_path, tensors, GALACTICA)


def test_a_rectangle_past_the_end_is_zero(tmp_path: Path):
    source = check(tmp_path, tensors_of(GALACTICA), GALACTICA)
    weight = weights(GALACTICA, vocab=VOCAB, head="none")[0]
    target = torch.full((30, 7), 5.0)
    fill_rectangle(target, weight, source, begin=(20, 3))
    torch.testing.assert_close(target[:20], tensors_of(GALACTICA)[EMBEDDING][20:, 3:10])
    assert not target[20:].any()
