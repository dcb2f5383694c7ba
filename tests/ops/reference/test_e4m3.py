"""The reference of quantising against the table of FP8's definition, and its edge cases."""

from __future__ import annotations

import math

import torch

from reft_megatron.ops.reference.e4m3 import dequantise, quantise
from tests.ops.e4m3_table import VALUES, every_pattern, nearest, same_codes


def test_the_table_is_that_of_the_format():
    assert VALUES[[1, 7, 8, 0x38, 0x7E]].tolist() == [2**-9, 7 * 2**-9, 2**-6, 1.0, 448.0]
    codes = torch.arange(0x7F, dtype=torch.uint8).view(torch.float8_e4m3fn)
    assert torch.equal(codes.double(), VALUES)
    half = torch.tensor([2**-10, 1.5 * 2**-9, 17.0, 464.0, math.inf, -0.0, -1.0])
    assert nearest(half).tolist() == [0, 2, 0x58, 0x7E, 0x7E, 0x80, 0xB8]


def test_every_pattern_rounds_as_the_table_says():
    """With an infinity in its vector a value is cast as it is: the scale is then 1."""
    x = every_pattern()
    x = torch.cat([x, x.new_zeros(-len(x) % 127)]).view(-1, 127)
    codes, scales = quantise(torch.cat([x, torch.full((len(x), 1), math.inf)], dim=1))
    assert (scales == 1).all()
    assert same_codes(codes.view(torch.uint8)[:, :127], nearest(x))


def test_scales():
    tiny, top = 2.0**-149, torch.finfo(torch.float32).max
    rows = [[0, -0.0], [448, 1], [-896, 3], [tiny, 0], [top, -top], [math.inf, 3], [math.nan, 3]]
    x = torch.tensor(rows)
    codes, scales = quantise(x)
    assert scales.tolist()[:3] == [1.0, 1.0, 2.0]
    assert scales.tolist()[5:] == [1.0, 1.0]
    assert codes.view(torch.uint8).tolist()[0] == [0, 0x80]
    assert dequantise(codes, scales)[:3].tolist() == [[0, 0], [448, 1], [-896, 3]]
    # 448 / max is infinite, and capped; the product is still below every code
    assert codes[3].float().tolist() == [0.0, 0.0]
    assert codes[4].float().tolist() == [448.0, -448.0]
    assert codes[5].float().tolist() == [448.0, 3.0]
    assert codes[6].float().isnan().tolist() == [True, False]


def test_what_is_lost_is_a_sixteenth_at_most():
    """Half a unit of three bits of mantissa, where codes are not subnormal."""
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(64, 128, generator=draw)
    codes, scales = quantise(x)
    error = (dequantise(codes, scales) - x).abs()
    normal = x.abs() >= scales[:, None] * 2.0**-6
    assert (error <= x.abs() / 16)[normal].all()
    assert (error <= scales[:, None] * 2.0**-10)[~normal].all()
