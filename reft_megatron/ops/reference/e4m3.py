"""FP8 E4M3 codes with a scale for each vector, in plain torch.

Says what quantising must give, bit for bit; knows no kernel. The scale is max|x| / 448, a code the
nearest (ties to even) of x * (448 / max|x|), saturating; zeros have scale 1, and so has a vector
that is not finite. Where torch's cast does not saturate (before 2.12), the clamp does.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["LARGEST", "dequantise", "quantise"]

LARGEST = 448.0
"""The largest magnitude of a code."""


def quantise(x: Tensor) -> tuple[Tensor, Tensor]:
    """(codes float8_e4m3fn [..., D], scales fp32 [...]) of x [..., D], bf16 or fp32.

    A code times its vector's scale is the value.
    """
    x = x.float()
    top = x.abs().amax(dim=-1)
    plain = (top == 0) | ~top.isfinite()
    # A number divided by a tensor would be its reciprocal, times the number: rounded twice.
    encode = torch.full_like(top, LARGEST) / top
    encode = torch.where(plain, 1.0, encode).clamp(max=torch.finfo(torch.float32).max)
    codes = (x * encode[..., None]).clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn)
    return codes, torch.where(plain, 1.0, top / LARGEST)


def dequantise(codes: Tensor, scales: Tensor) -> Tensor:
    """fp32 [..., D] of codes [..., D] and their scales [...]."""
    return codes.float() * scales[..., None]
