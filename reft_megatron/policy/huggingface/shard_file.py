"""One shard on the disk, as one rank writes it: rectangles at their place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch

from reft_megatron.files import WRITE_BYTES, Flusher
from reft_megatron.policy.huggingface.shard_plan import Piece, Shard, TensorInfo

__all__ = ["ShardFile", "allocate"]


def allocate(path: Path, shard: Shard) -> None:
    """Make the file with all its room on the disk and its header; OSError on a full disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        os.posix_fallocate(descriptor, 0, shard.size)
        _write_at(descriptor, memoryview(shard.header), 0)
    finally:
        os.close(descriptor)


class ShardFile:
    """An allocated shard, open for this rank's pieces."""

    pieces: dict[str, list[Piece]]
    """What this rank has written of each tensor."""

    def __init__(self, path: Path, shard: Shard, tensors: Mapping[str, TensorInfo]) -> None:
        self._descriptor = os.open(path, os.O_RDWR)
        self._flusher = Flusher(self._descriptor)
        self._shard = shard
        self._tensors = tensors
        self.pieces = {}

    def put(self, name: str, tensor: torch.Tensor, *, row: int, column: int) -> None:
        """Write a rectangle whose first element stands at `row` and `column` of its tensor.

        ValueError if it does not fit there; OSError if the disk refuses it.
        """
        info = self._tensors[name]
        rows, columns = _fitting(name, info, tensor, row=row, column=column)
        if not rows * columns:
            return
        # numpy has no bfloat16.
        plain = tensor.detach().to("cpu").reshape(rows, columns).contiguous().view(torch.uint8)
        data = plain.numpy().reshape(-1).data
        stride = info.columns * info.dtype.itemsize
        first = self._shard.starts[name] + row * stride + column * info.dtype.itemsize
        run = len(data) if columns == info.columns else len(data) // rows
        for index, at in enumerate(range(0, len(data), run)):
            _write_at(self._descriptor, data[at : at + run], first + index * stride)
        self._record(name, (row, row + rows, column, column + columns))
        self._flusher.wrote(len(data))

    def close(self) -> None:
        """Close the file; OSError if the disk refused something that was written."""
        try:
            self._flusher.close()
        finally:
            os.close(self._descriptor)

    def _record(self, name: str, piece: Piece) -> None:
        done = self.pieces.setdefault(name, [])
        if done and done[-1][1:] == (piece[0], *piece[2:]):
            piece = (done.pop()[0], *piece[1:])  # rows after rows are one piece
        done.append(piece)


def _fitting(
    name: str, info: TensorInfo, tensor: torch.Tensor, *, row: int, column: int
) -> tuple[int, int]:
    """Rows and columns of a piece; ValueError if it is no piece of the tensor at that place."""
    given = TensorInfo(shape=tuple(tensor.shape), dtype=tensor.dtype)
    fits = (
        given.dtype == info.dtype
        and len(given.shape) == len(info.shape)
        and (len(info.shape) == 2 or given.shape[1:] == info.shape[1:])
        and 0 <= row <= info.rows - given.rows
        and 0 <= column <= info.columns - given.columns
    )
    if not fits:
        raise ValueError(
            f"{given.dtype} {list(given.shape)} at row {row}, column {column} is no piece of "
            f"tensor {name}, which is {info.dtype} {list(info.shape)}"
        )
    return given.rows, given.columns


def _write_at(descriptor: int, data: memoryview, at: int) -> None:
    while data:
        count = os.pwrite(descriptor, data[:WRITE_BYTES], at)
        data, at = data[count:], at + count
