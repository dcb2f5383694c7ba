"""Queries and caches that the tests of decode attention share, and how far a result may be off."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reft_megatron.ops.reference import decode_attention as reference

HEADS = [(4, 4), (8, 2), (6, 1), (6, 2)]
SIZES = [8, 16, 40, 64, 128, 256]
# Output rounding of bf16 (2^-9) and the sum's order; fp32: sums of a few hundred terms.
BANDS = {torch.bfloat16: 4e-3, torch.float32: 2e-6}


def scene(
    lengths: list[int],
    *,
    heads: tuple[int, int] = (4, 2),
    size: int = 16,
    dtype: torch.dtype,
    positions: int = 40,
) -> dict[str, Any]:
    """Random queries and a random cache, of two rows more than there are lengths."""
    draw = torch.Generator().manual_seed(size + len(lengths))
    n, groups = heads
    cache = (len(lengths) + 2, groups, positions, size)
    return {
        "query": torch.randn(len(lengths), n, size, generator=draw).to(dtype),
        "keys": torch.randn(cache, generator=draw).to(dtype),
        "values": torch.randn(cache, generator=draw).to(dtype),
        "lengths": torch.tensor(lengths),
    }


def truth(x: dict[str, Any]) -> Tensor:
    """The reference in fp64."""
    tensors = {name: x[name].double() for name in ("query", "keys", "values")}
    return reference.decode_attention(**{**x, **tensors})


def distance(found: Tensor, wanted: Tensor) -> float:
    """Largest difference, in units of the largest output."""
    return float((found.double() - wanted).abs().max() / wanted.abs().max())
