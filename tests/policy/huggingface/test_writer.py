"""Writing folders: what comes out is whole, checked and loadable, or it is not there at all."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from transformers import AutoModelForCausalLM, OPTConfig, OPTForCausalLM

from reft_megatron.mesh import Axis
from reft_megatron.policy.draft import MANIFEST, check_manifest
from reft_megatron.policy.huggingface.reader import WeightFiles
from reft_megatron.policy.huggingface.shard_plan import TensorInfo
from reft_megatron.policy.huggingface.writer import WeightWriter
from tests.policy.huggingface.weight_folders import (
    FILES,
    TENSORS,
    drawn,
    join_world,
    snapshot,
    write_all,
)

DTYPES = [torch.float16, torch.bfloat16, torch.float32]


def check_sums(folder: Path) -> None:
    """Every file is in the manifest, with its checksum."""
    check_manifest(folder, Axis())
    listed = json.loads((folder / MANIFEST).read_text())["files"]
    assert listed.keys() == snapshot(folder).keys() - {MANIFEST}


def check_contents(folder: Path, held: dict[str, torch.Tensor]) -> None:
    """As the safetensors library sees them."""
    seen = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            assert file.metadata() == {"format": "pt"}
            for name in file.keys():  # noqa: SIM118  # it is no mapping
                seen[name] = file.get_tensor(name)
    assert seen.keys() == held.keys()
    for name, tensor in held.items():
        assert seen[name].dtype == tensor.dtype
        assert torch.equal(seen[name], tensor)


# ---------------------------------------------------------------- round trips


@st.composite
def cases(draw: Any) -> tuple[dict[str, TensorInfo], int]:
    shapes = st.lists(st.integers(0, 6), max_size=3).map(tuple)
    names = st.text("abc.", min_size=1, max_size=6)
    info = st.builds(TensorInfo, shape=shapes, dtype=st.sampled_from(DTYPES))
    return draw(st.dictionaries(names, info, max_size=6)), draw(st.integers(1, 200))


@settings(deadline=None, max_examples=60)
@given(st.data(), cases())
def test_any_tensors_in_any_pieces_come_back(data, case):
    tensors, shard_bytes = case
    held = drawn(tensors)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "out"
        with WeightWriter(folder, tensors, shard_bytes=shard_bytes) as writer:
            pieces = [piece for item in held.items() for piece in cut(data.draw, *item)]
            for name, piece, row, column in data.draw(st.permutations(pieces)):
                writer.write(name, piece, first_row=row, first_column=column)
            writer.finish({})
        check_contents(folder, held)
        if tensors:
            with WeightFiles(folder) as files:
                assert files.tensors.keys() == held.keys()
                for name, tensor in held.items():
                    assert torch.equal(files.read(name), tensor)


def cut(draw: Any, name: str, tensor: torch.Tensor) -> Iterable[tuple[str, torch.Tensor, int, int]]:
    """Rows of a tensor, and columns of these if it is a matrix."""
    if not tensor.dim():
        yield name, tensor, 0, 0
        return
    row = draw(st.integers(0, len(tensor)))
    for first, part in ((0, tensor[:row]), (row, tensor[row:])):
        if part.dim() != 2:
            yield name, part, first, 0
            continue
        column = draw(st.integers(0, part.shape[1]))
        yield name, part[:, :column], first, 0
        yield name, part[:, column:], first, column


@pytest.mark.parametrize("shard_bytes", [5 * 10**9, 150])
def test_the_folder_holds_these_files_and_no_more(tmp_path: Path, shard_bytes: int):
    held = drawn(TENSORS)
    with WeightWriter(tmp_path / "deep" / "out", TENSORS, shard_bytes=shard_bytes) as writer:
        for name, tensor in held.items():
            writer.write(name, tensor)
        writer.finish(FILES)
    folder = tmp_path / "deep" / "out"
    assert list(folder.parent.iterdir()) == [folder], "nothing is left beside it"
    shards = {"model.safetensors"}
    if shard_bytes == 150:
        shards = {f"model-{i:05}-of-00003.safetensors" for i in (1, 2, 3)}
        index = json.loads((folder / "model.safetensors.index.json").read_text())
        assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in held.values())
        assert set(index["weight_map"].values()) == shards
        shards.add("model.safetensors.index.json")
    written = snapshot(folder)
    assert written.keys() == {*shards, *FILES, MANIFEST}
    assert written.items() >= FILES.items()
    check_sums(folder)
    check_contents(folder, held)


@pytest.mark.parametrize("shard_bytes", [5 * 10**9, 20_000])
def test_transformers_loads_it(tmp_path: Path, shard_bytes: int):
    torch.manual_seed(0)
    small = {"hidden_size": 16, "ffn_dim": 32, "word_embed_proj_dim": 16, "num_attention_heads": 2}
    config = OPTConfig(**small, vocab_size=50, num_hidden_layers=2, max_position_embeddings=32)
    model = OPTForCausalLM(config)
    model.save_pretrained(tmp_path / "theirs", max_shard_size=9_000)
    with WeightFiles(tmp_path / "theirs") as files:
        assert len({info.file for info in files.tensors.values()}) > 1
        with WeightWriter(tmp_path / "ours", files.tensors, shard_bytes=shard_bytes) as writer:
            for name in files.tensors:
                writer.write(name, files.read(name))
            writer.finish({"config.json": (tmp_path / "theirs" / "config.json").read_bytes()})
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "ours").state_dict()
    theirs = model.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor)


def test_an_empty_folder_may_stand_in_the_way(tmp_path: Path, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    write_all(Path("out"))
    check_sums(tmp_path / "out")


# ---------------------------------------------------------------- many ranks


def play_shares(folder: Path, shard_bytes: int) -> None:
    """Rank r writes every fourth row of one tensor and its columns of the next; rank 1 the norm."""
    world = join_world()
    held = drawn(TENSORS)
    with WeightWriter(folder, TENSORS, world=world, shard_bytes=shard_bytes) as writer:
        for row in range(world.rank, 12, world.size):
            writer.write("embedding", held["embedding"][row : row + 1], first_row=row)
        width = 12 // world.size
        first = world.rank * width
        writer.write("output", held["output"][:, first : first + width], first_column=first)
        if world.rank == 1:
            writer.write("norm", held["norm"])
        writer.finish(FILES if world.first else {})


@pytest.mark.megatron
@pytest.mark.parametrize(("world", "shard_bytes"), [(2, 5 * 10**9), (4, 150)])
def test_ranks_write_one_folder(ranks, tmp_path: Path, world: int, shard_bytes: int):
    alone, together = tmp_path / "alone", tmp_path / "together"
    write_all(alone, shard_bytes=shard_bytes)
    ranks(world, play_shares, together, shard_bytes)
    assert snapshot(together) == snapshot(alone)
    assert {path.name for path in tmp_path.iterdir()} == {"alone", "together"}
    check_sums(together)
