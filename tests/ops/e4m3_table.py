"""FP8 E4M3 by its definition: every code's value from its bits, every rounding from that table."""

from __future__ import annotations

import torch
from torch import Tensor


def value(code: int) -> float:
    """What a code without sign means: 4 bits of exponent with bias 7, 3 of mantissa, 0x7f NaN."""
    exponent, mantissa = code >> 3, code & 7
    if code == 0x7F:
        return float("nan")
    return mantissa * 2.0**-9 if exponent == 0 else (8 + mantissa) * 2.0 ** (exponent - 10)


VALUES = torch.tensor([value(code) for code in range(0x7F)], dtype=torch.float64)
"""Of the codes 0 .. 0x7e, in ascending order."""
MIDDLES = (VALUES[1:] + VALUES[:-1]) / 2


def nearest(x: Tensor) -> Tensor:
    """Code uint8 of each fp32: the nearest, the even one of two, saturating; 0x7f for NaN."""
    size = x.double().abs()
    below, upto = torch.bucketize(size, MIDDLES), torch.bucketize(size, MIDDLES, right=True)
    code = torch.where(below == upto, below, below + below % 2)
    code = torch.where(x.isnan(), 0x7F, code)
    return (code + 0x80 * x.signbit()).to(torch.uint8)


def every_pattern() -> Tensor:
    """All bf16, all fp16, all values halfway between two codes and beside them, random fp32."""
    sixteen = torch.arange(-(2**15), 2**15, dtype=torch.int16)
    middles = torch.cat([MIDDLES, VALUES]).float()
    beside = [middles.nextafter(torch.tensor(end)) for end in (0.0, 1000.0)]
    draw = torch.Generator().manual_seed(0)
    bits = torch.randint(-(2**31), 2**31, (4_000_000,), generator=draw).int()
    kinds = [sixteen.view(torch.bfloat16).float(), sixteen.view(torch.float16).float(), middles]
    signed = torch.cat([*kinds, *beside, bits.view(torch.float32)])
    return torch.cat([signed, -middles, *(-x for x in beside)])


def same_codes(found: Tensor, wanted: Tensor) -> bool:
    """True if the codes are equal bit for bit, but for the sign of NaN."""
    nan = (found & 0x7F == 0x7F) & (wanted & 0x7F == 0x7F)
    return bool(((found == wanted) | nan).all())
