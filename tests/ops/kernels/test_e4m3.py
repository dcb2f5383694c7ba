"""FP8 caches in the kernels' arithmetic: bit for bit the reference's, and exact to read."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from reft_megatron.ops import cache_kernels, fp8_kernels, kernels
from reft_megatron.ops import decode_attention as ops
from reft_megatron.ops.reference import decode_attention as reference
from reft_megatron.ops.reference.e4m3 import dequantise, quantise
from tests.ops.decode_scene import HEADS, distance, scene
from tests.ops.e4m3_table import every_pattern, nearest, same_codes

E4M3 = torch.float8_e4m3fn


def empty_cache(*shape: int) -> dict[str, Tensor]:
    """[rows, groups, positions, size] codes and their scales, of keys and of values."""
    codes = {name: torch.zeros(shape, dtype=torch.uint8).view(E4M3) for name in ("keys", "values")}
    return codes | {f"{name}_scales": torch.ones(shape[:3]) for name in ("key", "value")}


def appended(x: Tensor) -> tuple[Tensor, Tensor, int]:
    """(codes uint8, scales, faults) of vectors [n, size], written as keys by the twin."""
    cache = empty_cache(len(x), 1, 1, x.shape[1])
    faults = torch.zeros(1, dtype=torch.int32)
    fresh = {"key": x[:, None], "value": torch.zeros_like(x)[:, None], "rows": None}
    where = {"positions": torch.zeros(len(x), dtype=torch.int64), "faults": faults}
    cache_kernels.append(**cache, **fresh, **where, library=kernels.host())
    assert (cache["value_scales"] == 1).all()
    return cache["keys"].view(torch.uint8)[:, 0, 0], cache["key_scales"][:, 0, 0], int(faults)


def quantised_columns(x: Tensor) -> tuple[tuple[Tensor, Tensor], int]:
    """(codes uint8 and scales, faults) of the columns of a matrix, by the twin."""
    faults = torch.zeros(1, dtype=torch.int32)
    codes, scales = fp8_kernels.quantise_columns(
        x, library=kernels.host(), fold=None, faults=faults
    )
    return (codes.view(torch.uint8), scales), int(faults)


def test_every_pattern_rounds_as_the_table_says():
    """With an infinity in its vector a value is cast as it is: the scale is then 1."""
    x = every_pattern()
    x = torch.cat([x, x.new_zeros(-len(x) % (8 * 255))]).view(-1, 255)
    wanted, x = nearest(x), torch.cat([x, torch.full((len(x), 1), math.inf)], dim=1)
    codes, scales, faults = appended(x)
    assert (scales == 1).all()
    assert faults == len(x)
    assert same_codes(codes[:, :255], wanted)
    (columns, its_scales), count = quantised_columns(x.t().contiguous())
    assert (its_scales == 1).all()
    assert count == len(x)
    assert torch.equal(columns[:, :256], codes), "by every way the same bits"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", [8, 40, 128, 256])
def test_codes_and_scales_are_the_references_bit_for_bit(size: int, dtype: torch.dtype):
    draw = torch.Generator().manual_seed(size)
    spread = 2.0 ** torch.randint(-140, 120, (2000, 1), generator=draw)
    x = (torch.randn(2000, size, generator=draw) * spread).to(dtype)
    x[0], x[1], x[2, 3], x[3, 0] = 0, -0.0, math.nan, -math.inf
    codes, scales, faults = appended(x)
    wanted, its_scales = quantise(x)
    assert faults == int((~x.isfinite().all(dim=1)).sum()) >= 2
    assert torch.equal(scales, its_scales)
    assert same_codes(codes, wanted.view(torch.uint8))


def test_every_code_is_read_as_what_it_is():
    """A row of one position returns its value."""
    cache = empty_cache(32, 1, 1, 8)
    cache["values"] = torch.arange(256, dtype=torch.uint8).view(E4M3).view(32, 1, 1, 8)
    ones = torch.ones(32, dtype=torch.int64)
    found = cache_kernels.decode_attention(
        torch.zeros(32, 1, 8),
        **cache,
        lengths=ones,
        rows=None,
        window=0,
        scale=1.0,
        library=kernels.host(),
    )
    assert torch.equal(found.view(-1).nan_to_num(), cache["values"].float().view(-1).nan_to_num())
    assert found.view(-1).isnan().nonzero()[:, 0].tolist() == [0x7F, 0xFF]


@pytest.mark.parametrize("by", ["twin", "torch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("heads", HEADS, ids=str)
@pytest.mark.parametrize("size", [8, 72, 128, 256])
def test_attention_is_that_over_the_dequantised_cache(
    size: int, heads: tuple[int, int], dtype: torch.dtype, by: str
):
    x = scene([1, 40, 7, 33], heads=heads, size=size, dtype=dtype)
    (keys, key_scales), (values, value_scales) = (quantise(x[name]) for name in ("keys", "values"))
    wide = (dequantise(keys, key_scales).double(), dequantise(values, value_scales).double())
    wanted = reference.decode_attention(
        x["query"].double(), *wide, lengths=x["lengths"], window=20, scale=0.3
    )
    how = {"lengths": x["lengths"], "window": 20, "scale": 0.3}
    if by == "torch":
        scales = (key_scales, value_scales)
        found = ops.decode_attention(x["query"], keys, values, **how, scales=scales)
    else:
        scales = {"key_scales": key_scales, "value_scales": value_scales}
        found = cache_kernels.decode_attention(
            x["query"], keys, values, **how, rows=None, **scales, library=kernels.host()
        )
    assert found.dtype == dtype
    # bf16: its rounding; fp32: a product more than over an fp32 cache
    assert distance(found, wanted) < {torch.bfloat16: 4e-3, torch.float32: 4e-6}[dtype]


@pytest.mark.parametrize("by", ["operator", "torch"])
def test_the_operators_write_and_read_such_a_cache(by: str):
    """As the twin, bit for bit in what is written, faults included."""
    x = scene([3, 17, 0], dtype=torch.bfloat16)
    caches = [empty_cache(5, 2, 40, 16) for _ in range(2)]
    rows, positions = torch.tensor([4, 0, 2]), torch.tensor([2, 16, -1])
    fresh = {"key": x["query"][:, :2], "value": x["query"][:, 2:], "positions": positions}
    fresh["value"][1, 1, 0] = fresh["value"][2, 0, 0] = math.inf  # the third goes nowhere
    faults = [torch.zeros(1, dtype=torch.int32) for _ in range(2)]
    cache_kernels.append(**caches[0], **fresh, rows=rows, faults=faults[0], library=kernels.host())
    keys, values, *scales = caches[1].values()
    if by == "torch":
        ops._append(**caches[1], **fresh, rows=rows, faults=faults[1])
    else:
        ops.append(keys, values, **fresh, rows=rows, scales=tuple(scales), faults=faults[1])
    for name in caches[0]:
        ours, its = (cache[name] for cache in caches)
        if ours.dtype == E4M3:
            ours, its = ours.view(torch.uint8), its.view(torch.uint8)
        assert torch.equal(ours, its), name
    assert [int(count) for count in faults] == [1, 1]


def test_the_operators_are_what_torch_expects():
    x = scene([3, 17], dtype=torch.bfloat16)
    keys, values, key_scales, value_scales = empty_cache(4, 2, 40, 16).values()
    scales = {"key_scales": key_scales, "value_scales": value_scales, "rows": None}
    seen = {"lengths": x["lengths"], "window": 0, "scale": 0.25, **scales}
    fresh = {"key": x["query"][:, :2], "value": x["query"][:, 2:], "positions": x["lengths"] - 1}
    faults = torch.zeros(1, dtype=torch.int32)
    written = {**fresh, **scales, "faults": faults}
    # torch's other tests compare tensors, and it cannot multiply FP8
    tests = ("test_faketensor", "test_autograd_registration")
    attention = torch.ops.reft.decode_attention, (x["query"], keys, values), seen
    for operator in (attention, (torch.ops.reft.append, (keys, values), written)):
        torch.library.opcheck(*operator, test_utils=tests)


def test_scales_that_do_not_fit_are_refused():
    x = scene([3], dtype=torch.float32)
    keys, values, *scales = empty_cache(3, 2, 40, 16).values()
    with pytest.raises(
        ValueError, match=r"^scales \(3, 2, 39\) torch.float32; wanted \(3, 2, 40\)"
    ):
        ops.decode_attention(
            x["query"], keys, values, lengths=x["lengths"], scales=(scales[0], scales[1][:, :, 1:])
        )
    with pytest.raises(ValueError, match=r"^tokens torch.float32, keys torch.float8_e4m3fn, "):
        ops.decode_attention(x["query"], keys, values, lengths=x["lengths"])
    where = {"key": x["query"][:, :2], "value": x["query"][:, 2:], "positions": x["lengths"]}
    faults = torch.zeros(2, dtype=torch.int32)
    with pytest.raises(ValueError, match=r"^faults \(2,\) torch.int32; wanted \[1\], int32\.$"):
        ops.append(keys, values, **where, scales=tuple(scales), faults=faults)
