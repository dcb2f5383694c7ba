"""One shard: pieces at their place, and pieces that do not fit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from reft_megatron import files
from reft_megatron.policy.huggingface.shard_file import ShardFile, allocate
from reft_megatron.policy.huggingface.shard_plan import Shard, TensorInfo, plan_shards

TENSORS = {
    "m": TensorInfo(shape=(4, 6), dtype=torch.float16),
    "v": TensorInfo(shape=(5,), dtype=torch.float16),
    "c": TensorInfo(shape=(2, 3, 2), dtype=torch.float16),
    "s": TensorInfo(shape=(), dtype=torch.float16),
}


def make(folder: Path) -> tuple[Path, Shard, ShardFile]:
    (shard,) = plan_shards(TENSORS, 1 << 30)
    path = folder / shard.file
    allocate(path, shard)
    return path, shard, ShardFile(path, shard, TENSORS)


def test_a_fresh_file_has_its_room_and_zeros(tmp_path: Path):
    path, shard, file = make(tmp_path)
    file.close()
    assert path.stat().st_size == shard.size
    assert path.stat().st_blocks * 512 >= shard.size, "no room was taken"
    for name, tensor in load_file(path).items():
        assert torch.equal(tensor, torch.zeros(TENSORS[name].shape).half())


def test_a_file_is_never_made_over_another(tmp_path: Path):
    _, shard, file = make(tmp_path)
    file.close()
    with pytest.raises(FileExistsError):
        allocate(tmp_path / shard.file, shard)


def test_pieces_in_any_order_make_the_tensors(tmp_path: Path):
    held = {name: torch.randn(info.shape).half() for name, info in TENSORS.items()}
    path, _, file = make(tmp_path)
    file.put("s", held["s"], row=0, column=0)
    file.put("m", held["m"][1:4, 2:6], row=1, column=2)
    file.put("m", held["m"][:1], row=0, column=0)
    file.put("c", held["c"][1:], row=1, column=0)
    file.put("v", held["v"][3:], row=3, column=0)
    file.put("m", held["m"].T[:2, 1:].T, row=1, column=0)
    file.put("v", held["v"][:3].requires_grad_(), row=0, column=0)
    file.put("c", held["c"][:1], row=0, column=0)
    file.close()
    for name, tensor in load_file(path).items():
        assert torch.equal(tensor, held[name])
    assert file.pieces["m"] == [(1, 4, 2, 6), (0, 1, 0, 6), (1, 4, 0, 2)]


def test_rows_after_rows_are_one_piece(tmp_path: Path):
    _, _, file = make(tmp_path)
    for row in range(4):
        file.put("m", torch.ones(1, 6).half(), row=row, column=0)
    file.put("m", torch.ones(0, 6).half(), row=4, column=0)
    file.close()
    assert file.pieces == {"m": [(0, 4, 0, 6)]}


@pytest.mark.parametrize(
    ("name", "piece", "row", "column", "complaint"),
    [
        ("m", torch.ones(4, 6), 0, 0, "torch.float32 [4, 6] at row 0, column 0"),
        ("m", torch.ones(5, 6).half(), 0, 0, "torch.float16 [5, 6] at row 0, column 0"),
        ("m", torch.ones(2, 6).half(), 3, 0, "torch.float16 [2, 6] at row 3, column 0"),
        ("m", torch.ones(2, 5).half(), 0, 2, "torch.float16 [2, 5] at row 0, column 2"),
        ("m", torch.ones(2, 6).half(), -1, 0, "torch.float16 [2, 6] at row -1, column 0"),
        ("m", torch.ones(2, 5).half(), 0, -1, "torch.float16 [2, 5] at row 0, column -1"),
        ("m", torch.ones(6).half(), 0, 0, "torch.float16 [6] at row 0, column 0"),
        ("v", torch.ones(5, 1).half(), 0, 0, "torch.float16 [5, 1] at row 0, column 0"),
        ("v", torch.ones(1).half(), 0, 1, "torch.float16 [1] at row 0, column 1"),
        ("c", torch.ones(1, 2, 3).half(), 0, 0, "torch.float16 [1, 2, 3] at row 0, column 0"),
        ("c", torch.ones(1, 2, 2).half(), 0, 0, "torch.float16 [1, 2, 2] at row 0, column 0"),
        ("s", torch.ones(1).half(), 0, 0, "torch.float16 [1] at row 0, column 0"),
    ],
)
def test_pieces_that_do_not_fit(tmp_path: Path, name, piece, row, column, complaint):
    path, _, file = make(tmp_path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r" is no piece of ") as caught:
        file.put(name, piece, row=row, column=column)
    file.close()
    info = TENSORS[name]
    assert str(caught.value) == (
        f"{complaint} is no piece of tensor {name}, which is {info.dtype} {list(info.shape)}"
    )
    assert path.read_bytes() == before


def test_what_cannot_reach_the_disk_is_told_at_the_end(tmp_path: Path, monkeypatch):
    """A device without a disk takes what is written, and cannot be synchronised."""
    monkeypatch.setattr(files, "_FLUSH_BYTES", 1)
    _, shard, whole = make(tmp_path)
    whole.close()
    file = ShardFile(Path("/dev/null"), shard, TENSORS)
    file.put("v", torch.ones(5).half(), row=0, column=0)
    with pytest.raises(OSError, match="Invalid argument"):
        file.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file._descriptor)
