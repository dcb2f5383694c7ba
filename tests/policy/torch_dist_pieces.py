"""Tensors whose elements all differ, pieces of them, and folders that should hold them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reft_megatron.mesh import Axis
from reft_megatron.policy.torch_dist_reader import StoredWeights
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


def check_whole(folder: Path, weights: dict[str, np.ndarray[Any, Any]]) -> None:
    """The folder holds the scene's weights, and no other tensors."""
    stored = StoredWeights(folder)
    assert stored.tensors.keys() == {name.split("/")[0] for name in weights}
    for name, wanted in weights.items():
        key, *layer = name.split("/")
        begin = (*map(int, layer), *(0 for _ in wanted.shape))
        found = stored.read(key, begin, (*(1 for _ in layer), *wanted.shape))
        np.testing.assert_array_equal(found.reshape(wanted.shape), wanted, err_msg=name)
