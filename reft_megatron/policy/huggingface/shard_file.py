"""One shard on the disk, as one rank writes it.

Owns putting rectangles at their place, and the digest of the file, which follows the writing as far
as this rank's pieces reach without a gap: what it reads back is still in the page cache.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch

from reft_megatron.policy.huggingface.plan import Piece, Shard, TensorInfo

__all__ = ["ShardFile", "allocate"]

_BLOCK = 1 << 20
_STEP = 1 << 17
"""Linux looks long for memory for a large write: in steps it is two to four times as fast."""


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
    hashed: int
    """Bytes from the start of the file that the digest has seen."""

    def __init__(self, path: Path, shard: Shard, tensors: Mapping[str, TensorInfo]) -> None:
        self._descriptor = os.open(path, os.O_RDWR)
        self._shard = shard
        self._tensors = tensors
        self._missing = {name: tensors[name].nbytes for name in shard.starts}
        self._pending = iter(shard.starts)
        self._next = next(self._pending, None)
        self._ready = len(shard.header)
        self._digest = hashlib.sha256()
        self.pieces = {}
        self.hashed = 0

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
        self._record(name, (row, row + rows, column, column + columns), len(data))

    def hash_ready(self) -> None:
        """Bring the digest up to the first gap in what this rank has written."""
        self._hash_to(self._ready)

    def hash_all(self) -> str:
        """The SHA-256 of the whole file, which other ranks may have written, in hexadecimal."""
        self._hash_to(self._shard.size)
        return self._digest.hexdigest()

    def sync(self) -> None:
        """Make what was written durable."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _record(self, name: str, piece: Piece, nbytes: int) -> None:
        done = self.pieces.setdefault(name, [])
        if done and done[-1][1:] == (piece[0], *piece[2:]):
            piece = (done.pop()[0], *piece[1:])  # rows after rows are one piece
        done.append(piece)
        self._missing[name] -= nbytes
        while self._next is not None and self._missing[self._next] <= 0:
            self._ready = self._shard.starts[self._next] + self._tensors[self._next].nbytes
            self._next = next(self._pending, None)

    def _hash_to(self, end: int) -> None:
        block = memoryview(bytearray(_BLOCK))
        while self.hashed < end:
            want = min(_BLOCK, end - self.hashed)
            count = os.preadv(self._descriptor, [block[:want]], self.hashed)
            if not count:
                raise OSError(f"{self._shard.file} became shorter while it was written")
            self._digest.update(block[:count])
            self.hashed += count


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
        count = os.pwrite(descriptor, data[:_STEP], at)
        data, at = data[count:], at + count
