"""Conversions that must not be made, and what their options do; test_round_trip has the bits."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from reft_megatron.errors import CheckpointError, ConfigError
from reft_megatron.mesh import Axis
from reft_megatron.policy.draft import Draft
from reft_megatron.policy.huggingface import to_checkpoint, to_huggingface
from tests.policy.huggingface.test_round_trip import Case, draw, write_folder
from tests.policy.scene import ONE
from tools.random_checkpoint import word_tokenizer

WORLD = Axis()


def case(head: str, kind: str = "opt") -> Case:
    """The first random model of that kind, with that head, in bf16."""
    drawn = next(c for c in (draw(seed, ONE) for seed in range(99)) if kind == c.architecture.name)
    return Case(architecture=drawn.architecture, head=head, dtype="bfloat16", seed=1)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_folder(case("value"), tmp_path / "hf")
    return tmp_path / "hf"


@pytest.fixture
def tied(tmp_path: Path) -> Path:
    """A model whose output projection is its embedding."""
    found = case("none")
    write_folder(
        replace(found, architecture=replace(found.architecture, tied=True)), tmp_path / "hf"
    )
    return tmp_path / "hf"


def poison(folder: Path, value: float) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.decoder.layers.0.fc2.weight"][0, 0] = value
    save_file(tensors, folder / "model.safetensors")


def another_dtype(folder: Path, part: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = f"model.decoder.layers.0.{part}"
    save_file({**tensors, name: tensors[name].float()}, folder / "model.safetensors")


def without(folder: Path, name: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({key: x for key, x in tensors.items() if key != name}, folder / "model.safetensors")


def change_config(folder: Path, **changes: object) -> None:
    tree = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**tree, **changes}))


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "NaN": (lambda f: poison(f, float("nan")), "holds NaN"),
    "infinity": (lambda f: poison(f, float("inf")), "holds infinities"),
    "two dtypes in one weight": (
        lambda f: another_dtype(f, "self_attn.k_proj.weight"),
        r"both become part of decoder\.layers\.self_attention\.linear_qkv\.weight",
    ),
    "two dtypes in one stack": (
        lambda f: another_dtype(f, "fc2.weight"),
        r"0\.fc2\.weight is torch\.float32 and .*1\.fc2\.weight is torch\.bfloat16, but both "
        r"become part of decoder\.layers\.mlp\.linear_fc2\.weight",
    ),
    "half a head": (
        lambda f: without(f, "v_head.summary.bias"),
        r"has a value head without v_head\.summary\.bias",
    ),
    "another tokenizer": (
        lambda f: (f / "tokenizer.json").write_text(word_tokenizer(999)),
        r"the tokenizer has 999 ids, and the model embeds only",
    ),
    "a wrong family": (lambda f: change_config(f, model_type="gpt2"), "model type 'gpt2'"),
    "a wrong width": (lambda f: change_config(f, ffn_dim=999), "belong to different models"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "no weight"),
    "half a file": (lambda f: os.truncate(f / "model.safetensors", 3000), "model.safetensors"),
    "no config": (lambda f: (f / "config.json").unlink(), "cannot read .*config.json"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_folders_leave_nothing_behind(source: Path, tmp_path: Path, name: str):
    damage, told = BAD[name]
    damage(source)
    with pytest.raises(CheckpointError, match=told):
        to_checkpoint(source, tmp_path / "out" / "ckpt", world=WORLD)
    assert not any((tmp_path / "out").glob("*"))


def test_a_folder_without_a_tokenizer_is_refused(source: Path, tmp_path: Path):
    (source / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match="tokenizer"):
        to_checkpoint(source, tmp_path / "ckpt", world=WORLD)


def test_a_full_disk_is_told_before_anything_is_written(source, tmp_path, monkeypatch):
    to_checkpoint(source, tmp_path / "ckpt", world=WORLD)

    def full(*arguments: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(CheckpointError, match="No space left"):
        to_huggingface(tmp_path / "ckpt", tmp_path / "out", world=WORLD)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ckpt", "hf"]


def test_what_is_there_is_not_overwritten(source: Path, tmp_path: Path):
    to_checkpoint(source, tmp_path / "ckpt", world=WORLD)
    with pytest.raises(CheckpointError, match=r"ckpt exists already"):
        to_checkpoint(source, tmp_path / "ckpt", world=WORLD)
    to_huggingface(tmp_path / "ckpt", tmp_path / "out", world=WORLD)
    with pytest.raises(CheckpointError, match=r"out exists already"):
        to_huggingface(tmp_path / "ckpt", tmp_path / "out", world=WORLD)


def test_values_that_are_not_finite_can_be_allowed(source: Path, tmp_path: Path):
    poison(source, float("nan"))
    to_checkpoint(source, tmp_path / "ckpt", world=WORLD, allow_nonfinite=True)
    to_huggingface(tmp_path / "ckpt", tmp_path / "out", world=WORLD)
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert found["model.decoder.layers.0.fc2.weight"][0, 0].isnan()


def test_pickled_weights_are_read(source: Path, tmp_path: Path):
    tensors = load_file(source / "model.safetensors")
    torch.save(tensors, source / "pytorch_model.bin")
    (source / "model.safetensors").unlink()
    to_checkpoint(source, tmp_path / "ckpt", world=WORLD)
    to_huggingface(tmp_path / "ckpt", tmp_path / "out", world=WORLD)
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_the_files_that_travel_are_untouched(source: Path, tmp_path: Path):
    names = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    (source / "tokenizer_config.json").write_text('{"eos_token": "</s>",  "odd":  1}')
    (source / "chat_template.jinja").write_text("{{ x }}\r\n")
    (source / "generation_config.json").write_text('{"eos_token_id": 2}')
    to_checkpoint(source, tmp_path / "ckpt", world=WORLD)
    to_huggingface(tmp_path / "ckpt", tmp_path / "out", world=WORLD)
    for name in (*names, "generation_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes(), name


@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [("auto", torch.bfloat16), ("stored", torch.bfloat16), ("fp32", torch.float32)],
)
def test_a_dtype_can_be_chosen(source: Path, tmp_path: Path, dtype: str, wanted: torch.dtype):
    to_checkpoint(source, tmp_path / "ckpt", world=WORLD)
    to_huggingface(tmp_path / "ckpt", tmp_path / "out", world=WORLD, dtype=dtype)
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in found.values()} == {wanted}
    said = json.loads((tmp_path / "out" / "config.json").read_text())["torch_dtype"]
    assert f"torch.{said}" == str(wanted)


@pytest.mark.parametrize(
    ("keep", "names"), [(True, {"v_head.summary.weight", "v_head.summary.bias"}), (False, set())]
)
def test_a_head_is_kept_or_dropped(source: Path, tmp_path: Path, keep: bool, names: set[str]):
    to_checkpoint(source, tmp_path / "ckpt", world=WORLD)
    done = to_huggingface(tmp_path / "ckpt", tmp_path / "out", world=WORLD, keep_head=keep)
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert {name for name in found if name.startswith("v_head")} == names
    assert done.head == ("value" if keep else "none")
    assert done.tensors == len(found)


def test_a_head_that_was_trained_in_fp32_is_not_rounded(source: Path, tmp_path: Path):
    tensors = load_file(source / "model.safetensors")
    head = {name: x.float() + 1e-6 for name, x in tensors.items() if name.startswith("v_head")}
    save_file({**tensors, **head}, source / "model.safetensors")
    to_checkpoint(source, tmp_path / "ckpt", world=WORLD)
    to_huggingface(tmp_path / "ckpt", tmp_path / "out", world=WORLD)
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert len(head) == 2
    assert all(torch.equal(found[name], tensor) for name, tensor in head.items())
    assert found["model.decoder.embed_tokens.weight"].dtype == torch.bfloat16


def test_an_unknown_dtype_is_refused(source: Path, tmp_path: Path):
    to_checkpoint(source, tmp_path / "ckpt", world=WORLD)
    with pytest.raises(CheckpointError, match="'fp8' is unknown"):
        to_huggingface(tmp_path / "ckpt", tmp_path / "out", world=WORLD, dtype="fp8")


@pytest.mark.parametrize("wrapper", ["module.", "pretrained_model.", "module.pretrained_model."])
def test_a_head_in_a_wrapper_comes_along(source: Path, tmp_path: Path, wrapper: str):
    before = load_file(source / "model.safetensors")
    save_file({wrapper + name: x for name, x in before.items()}, source / "model.safetensors")
    assert to_checkpoint(source, tmp_path / "ckpt", world=WORLD).head == "value"
    to_huggingface(tmp_path / "ckpt", tmp_path / "out", world=WORLD)
    after = load_file(tmp_path / "out" / "model.safetensors")
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_an_untied_classifier_is_nothing_without_its_head(tmp_path: Path):
    found = case("rerank", "llama")
    for tied in (True, False):
        shape = replace(found.architecture, tied=tied)
        folder = tmp_path / f"tied {tied}"
        write_folder(replace(found, architecture=shape), folder / "hf")
        to_checkpoint(folder / "hf", folder / "ckpt", world=WORLD)
        if tied:
            done = to_huggingface(folder / "ckpt", folder / "out", world=WORLD, keep_head=False)
            assert done.head == "none"
            continue
        with pytest.raises(CheckpointError, match="is a classifier: without its head it has"):
            to_huggingface(folder / "ckpt", folder / "out", world=WORLD, keep_head=False)
        assert not (folder / "out").exists()


def test_a_full_disk_is_told_before_a_checkpoint_is_begun(source, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=3000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(
        CheckpointError, match=r"\d+ bytes are wanted and 3000 are free in .*ckpt\."
    ):
        to_checkpoint(source, tmp_path / "ckpt", world=WORLD)
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


def test_a_classifier_says_that_it_is_one(tmp_path: Path):
    write_folder(case("rerank", "llama"), tmp_path / "hf")
    to_checkpoint(tmp_path / "hf", tmp_path / "ckpt", world=WORLD)
    to_huggingface(tmp_path / "ckpt", tmp_path / "out", world=WORLD)
    tree = json.loads((tmp_path / "out" / "config.json").read_text())
    assert tree["architectures"] == ["LlamaForSequenceClassification"]
    assert len(tree["id2label"]) == 2
    assert tree["pad_token_id"] == 1, "transformers looks for padding to find the last token"


def test_what_is_no_checkpoint_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"is not a complete checkpoint: it has no readable"):
        to_huggingface(tmp_path, tmp_path / "out", world=WORLD)


def break_weights(folder: Path) -> None:
    (path,) = (folder / "weights").glob("*.distcp")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def rewrite(folder: Path, change: Callable[[Path], object]) -> None:
    """Another checkpoint, whose manifest fits again: as another version might have written it."""
    draft = Draft(folder.with_name("other"), WORLD)
    shutil.copytree(folder, draft.path, dirs_exist_ok=True)
    (draft.path / "manifest.json").unlink()
    change(draft.path)
    draft.publish()
    shutil.rmtree(folder)
    folder.with_name("other").rename(folder)


def change_meta(folder: Path, **changes: object) -> None:
    """Change what it says of its architecture."""
    tree = json.loads((folder / "meta.json").read_text())
    tree["architecture"] |= changes
    (folder / "meta.json").write_text(json.dumps(tree))


DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a bit": (break_weights, r"is damaged: weights/.*\.distcp differs from its checksum"),
    "no meta": (lambda f: (f / "meta.json").unlink(), r"is damaged: meta\.json is missing"),
    "a lost tokenizer": (
        lambda f: (f / "huggingface" / "tokenizer.json").unlink(),
        r"is damaged: huggingface/tokenizer\.json is missing",
    ),
    "meta never written": (
        lambda f: rewrite(f, lambda g: (g / "meta.json").unlink()),
        r"says nothing of its model: it has no readable meta\.json",
    ),
    "another meta": (
        lambda f: rewrite(f, lambda g: change_meta(g, layers="many")),
        r"meta\.json describes no model that is known",
    ),
    "layers that are not there": (
        lambda f: rewrite(f, lambda g: change_meta(g, layers=99)),
        r"has shape \[.*and so nothing at \[",
    ),
    "a weight that is not there": (
        lambda f: rewrite(f, lambda g: change_meta(g, tied=False)),
        r"has no tensor output_layer\.weight",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_checkpoint_is_not_exported(tied: Path, tmp_path: Path, name: str):
    damage, told = DAMAGED[name]
    to_checkpoint(tied, tmp_path / "ckpt", world=WORLD)
    damage(tmp_path / "ckpt")
    with pytest.raises(CheckpointError, match=told):
        to_huggingface(tmp_path / "ckpt", tmp_path / "out", world=WORLD)
    assert not any(path.name.startswith("out") for path in tmp_path.iterdir())
