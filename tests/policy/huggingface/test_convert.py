"""Conversions that must not be made, and what their options do; test_round_trip has the bits."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from reft_megatron.errors import CheckpointError, ConfigError
from reft_megatron.mesh import Axis
from reft_megatron.policy.huggingface import to_checkpoint, to_huggingface
from tests.policy.huggingface.test_round_trip import Case, draw, write_folder
from tests.policy.scene import ONE

WORLD = Axis()


def case(head: str, kind: str = "opt") -> Case:
    """The first random model of that kind, with that head, in bf16."""
    drawn = next(c for c in (draw(seed, ONE) for seed in range(99)) if kind == c.architecture.name)
    return Case(architecture=drawn.architecture, head=head, dtype="bfloat16", seed=1)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_folder(case("value"), tmp_path / "hf")
    return tmp_path / "hf"


def poison(folder: Path, value: float) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.decoder.layers.0.fc2.weight"][0, 0] = value
    save_file(tensors, folder / "model.safetensors")


def another_dtype(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = "model.decoder.layers.0.self_attn.k_proj.weight"
    save_file({**tensors, name: tensors[name].float()}, folder / "model.safetensors")


def change_config(folder: Path, **changes: object) -> None:
    tree = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**tree, **changes}))


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "NaN": (lambda f: poison(f, float("nan")), "holds NaN"),
    "infinity": (lambda f: poison(f, float("inf")), "holds infinities"),
    "two dtypes in one weight": (another_dtype, "they make up one weight"),
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


def test_a_classifier_says_that_it_is_one(tmp_path: Path):
    write_folder(case("rerank", "llama"), tmp_path / "hf")
    to_checkpoint(tmp_path / "hf", tmp_path / "ckpt", world=WORLD)
    to_huggingface(tmp_path / "ckpt", tmp_path / "out", world=WORLD)
    tree = json.loads((tmp_path / "out" / "config.json").read_text())
    assert tree["architectures"] == ["LlamaForSequenceClassification"]
    assert len(tree["id2label"]) == 2
    assert tree["pad_token_id"] == 1, "transformers looks for padding to find the last token"


def test_what_is_no_checkpoint_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"no checkpoint: cannot read its meta\.json"):
        to_huggingface(tmp_path, tmp_path / "out", world=WORLD)
