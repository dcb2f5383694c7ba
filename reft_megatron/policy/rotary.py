"""Rotary position embedding at any positions.

Owns the wavelengths with their scalings, and the rotation of queries and keys. Sums and products
are in the order of transformers' Llama, so that the two agree to the last bits.

Legend: S positions in a row, B rows, N heads, D head size.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from reft_megatron.policy.families import Rope

__all__ = ["Rotation", "frequencies"]


def frequencies(rope: Rope, size: int) -> Tensor:
    """Radians per position of each pair of components, fp32 [D / 2] for head size `size` = D.

    Su et al. 2021, section 3.2.2; `linear` divides all by the factor (Chen et al. 2023); `llama3`
    divides the long wavelengths, keeps the short ones, and goes smoothly from one to the other in
    between (Llama 3.1's reference code, `apply_scaling`).
    """
    powers = torch.arange(0, size, 2, dtype=torch.int64).float() / size
    plain = 1.0 / (rope.theta**powers)
    if rope.scaling == "none":
        return plain
    stretched = plain / rope.factor
    if rope.scaling == "linear":
        return stretched
    waves = 2 * math.pi / plain
    turns = rope.original_positions / waves
    share = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    share = share.clamp(0, 1)
    return (1 - share) * plain / rope.factor + share * plain


@functools.cache
def _rates(rope: Rope, size: int, device: torch.device) -> Tensor:
    """`frequencies` on a device: once, as a CUDA graph can hold no copy from the host."""
    return frequencies(rope, size).to(device)


class Rotation:
    """The rotation of one micro-batch's queries and keys."""

    def __init__(self, rope: Rope, positions: Tensor, size: int) -> None:
        """positions int64 [B, S]; `size` is D."""
        rates = _rates(rope, size, positions.device)
        angles = positions.t()[:, :, None].float() * rates
        angles = torch.cat((angles, angles), dim=-1)[:, :, None]
        self._cosine, self._sine = angles.cos(), angles.sin()

    def __call__(self, x: Tensor) -> Tensor:
        """`x` [S, B, N, D], rotated, in its own dtype."""
        first, second = x.chunk(2, dim=-1)
        turned = torch.cat((-second, first), dim=-1)
        return x * self._cosine.to(x.dtype) + turned * self._sine.to(x.dtype)
