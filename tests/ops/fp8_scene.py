"""Activations, gradients and weights that the tests of FP8 share, and what codes stand for."""

from __future__ import annotations

import torch
from torch import Tensor

from reft_megatron.ops.fp8 import Codes

DTYPES = [torch.bfloat16, torch.float16, torch.float32]
OUTLIERS = 6
"""Features sixty times as large as others, as models of the OPT family have."""


def matrix(
    rows: int, columns: int, *, dtype: torch.dtype = torch.bfloat16, seed: int = 0
) -> Tensor:
    """Gaussian rows of unlike size, with a few outlying columns."""
    draw = torch.Generator().manual_seed(seed * 7919 + rows * 31 + columns)
    x = torch.randn(rows, columns, generator=draw)
    x *= 2.0 ** torch.randint(-3, 4, (rows, 1), generator=draw)
    x[:, torch.randperm(columns, generator=draw)[: min(OUTLIERS, columns // 8)]] *= 60
    return x.to(dtype)


def value(factor: Codes) -> Tensor:
    """What codes and scales stand for, in fp64."""
    return factor.codes.double() * factor.scale.double()


def bits(codes: Tensor) -> Tensor:
    """Codes as numbers that can be compared."""
    return codes.view(torch.uint8)


def error(found: Tensor, wanted: Tensor) -> float:
    """The relative Frobenius distance."""
    return float((found.double() - wanted).norm() / wanted.norm())


def steps_apart(found: Tensor, wanted: Tensor) -> Tensor:
    """How many codes lie between two, for each element; NaN counts as far from all else."""
    places = []
    for codes in (found, wanted):
        plain = bits(codes).int()
        size = plain & 0x7F
        size = torch.where(size == 0x7F, 1000, size)
        places.append(torch.where(plain >= 0x80, -size, size))
    return (places[0] - places[1]).abs()


def ulps_apart(found: Tensor, wanted: Tensor) -> int:
    """The most fp32 numbers between two tensors of positive ones."""
    return int((found.view(torch.int32) - wanted.view(torch.int32)).abs().max())
