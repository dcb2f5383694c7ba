"""Tensors whose elements all differ, and pieces of them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from reft_megatron.mesh import Axis
from reft_megatron.policy.torch_dist_writer import Piece, write


def drawn(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.arange(math.prod(shape)).reshape(shape).to(dtype)


def cut(whole: Tensor, begin: tuple[int, ...], size: tuple[int, ...]) -> Tensor:
    return whole[tuple(slice(b, b + n) for b, n in zip(begin, size, strict=True))]


def write_whole(folder: Path, tensors: dict[str, Tensor], pieces: list[Piece]) -> None:
    write(folder, pieces, lambda p: cut(tensors[p.key], p.begin, p.size), world=Axis())


def rows_of(key: str, whole: Tensor, step: int) -> list[Piece]:
    """Pieces of `step` rows each."""
    whole_piece = Piece(
        key=key,
        shape=tuple(whole.shape),
        begin=(0,) * whole.dim(),
        size=tuple(whole.shape),
        dtype=whole.dtype,
    )
    return [
        replace(
            whole_piece,
            begin=(row, *whole_piece.begin[1:]),
            size=(min(step, len(whole) - row), *whole_piece.size[1:]),
        )
        for row in range(0, len(whole), step)
    ]
