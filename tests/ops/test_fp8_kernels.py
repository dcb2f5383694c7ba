"""The kernels that quantise, by the host twin: bit for bit the reference, or within its bands."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from reft_megatron.ops import fp8, fp8_kernels, kernels
from reft_megatron.ops.reference import fp8 as reference
from reft_megatron.ops.reference.e4m3 import quantise
from tests.ops.e4m3_table import every_pattern, nearest, same_codes
from tests.ops.fp8_scene import bits, matrix, steps_apart, ulps_apart

DTYPES = [torch.bfloat16, torch.float32]
E4M3 = torch.float8_e4m3fn
TWIN = {"library": kernels.host()}
# Sums and the error function differ by ulps between libraries and devices. GELU's derivative is a
# difference of numbers up to ten times as large where x is negative, and so are their errors.
APART, SCALE_ULPS = 1e-3, {"gelu": 2, "layer norm": 4, "gelu's gradient": 8}


def same(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> bool:
    """Bit for bit, but for the sign of NaN."""
    return all(
        same_codes(bits(ours), bits(its)) if ours.dtype == E4M3 else torch.equal(ours, its)
        for ours, its in zip(found, wanted, strict=True)
    )


def close(codes: Tensor, scale: Tensor, wanted: Tensor, *, ulps: int) -> bool:
    """True if they are those of fp64 values, within the bands of what is not bit-exact."""
    its_codes, its_scale = quantise(wanted.float())
    apart = steps_apart(codes, its_codes)
    return (
        int(apart.max()) <= 1
        and float((apart > 0).float().mean()) <= APART
        and ulps_apart(scale[:, 0], its_scale) <= ulps
    )


def wild(rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    """Rows of all magnitudes, zeros of both signs, and what is not finite."""
    draw = torch.Generator().manual_seed(rows + columns)
    spread = 2.0 ** torch.randint(-140, 120, (rows, 1), generator=draw)
    x = torch.randn(rows, columns, generator=draw) * spread
    x[0], x[1], x[2, 3], x[3, 0] = 0, -0.0, math.nan, -math.inf
    return x.to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [8, 104, 2048, 4104])
def test_rows_are_the_references_bit_for_bit(size: int, dtype: torch.dtype):
    x = wild(40, size, dtype)
    counts = [torch.zeros(1, dtype=torch.int32) for _ in range(2)]
    found = fp8_kernels.quantise_rows(x, **TWIN, faults=counts[0])
    assert same(found, reference.quantise_rows(x, faults=counts[1]))
    assert counts[0] == counts[1] == int((~x.isfinite().all(dim=1)).sum())


@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("tokens", "size"), [(5, 8), (64, 72), (65, 256), (130, 264)])
def test_columns_are_the_references_bit_for_bit(
    tokens: int, size: int, dtype: torch.dtype, folded: bool
):
    x = wild(tokens, size, dtype)
    fold = 2.0 ** torch.linspace(-20, 20, tokens)[:, None] if folded else None
    counts = [torch.zeros(1, dtype=torch.int32) for _ in range(4)]
    found = fp8_kernels.quantise_columns(x, fold=fold, **TWIN, faults=counts[0])
    assert same(found, reference.quantise_columns(x, fold=fold, faults=counts[1]))
    found = fp8_kernels.quantise_gradient(x, fold=fold, **TWIN, faults=counts[2])
    wanted = reference.quantise_gradient(x, fold=fold, faults=counts[3])
    assert same(found[:4], wanted[:4])
    assert counts[0] == counts[1] < counts[2] == counts[3]


@pytest.mark.parametrize("tokens", [1, 63, 64, 200, 1000])
def test_sums_over_tokens_are_those_of_fp64(tokens: int):
    x = matrix(tokens, 24, dtype=torch.float32)
    *_, sums = fp8_kernels.quantise_gradient(x, fold=None, **TWIN, faults=None)
    bound = x.double().abs().sum(0) * 2.0**-24 * (8 + tokens / 64 + 8)  # of a sum's depth
    assert ((sums.double() - x.double().sum(0)).abs() <= bound).all()


@pytest.mark.parametrize("size", [8, 104, 4096, 4104])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_layer_norm_is_fp64s_within_the_band(dtype: torch.dtype, size: int):
    x = matrix(60 + 16000 // size, size, dtype=dtype) + 0.5
    weight, bias = matrix(1, size, seed=1)[0], matrix(1, size, seed=2)[0]
    for vectors in ((weight, bias), (weight.float(), bias.float())):
        codes, scale, mean, rstd = fp8_kernels.layer_norm_quantise(
            x, *vectors, eps=1e-5, **TWIN, faults=None
        )
        wide = (x.double(), *(vector.double() for vector in vectors))
        wanted, *moments = torch.native_layer_norm(wide[0], [size], *wide[1:], 1e-5)
        assert close(codes, scale, wanted, ulps=SCALE_ULPS["layer norm"])
        for found, moment in zip((mean, rstd), moments, strict=True):
            torch.testing.assert_close(found.double(), moment[:, 0], rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gelu_is_fp64s_within_the_band(dtype: torch.dtype, biased: bool):
    x = matrix(200, 264, dtype=dtype)
    bias = matrix(1, 264, seed=1, dtype=dtype)[0] if biased else None
    codes, scale = fp8_kernels.bias_gelu_quantise(x, bias, **TWIN, faults=None)
    inner = x.double() + bias.double() if biased else x.double()
    assert close(codes, scale, reference.gelu(inner), ulps=SCALE_ULPS["gelu"])


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_gradient_of_gelu_is_fp64s_within_the_band(dtype: torch.dtype, biased: bool):
    x, dy = matrix(200, 264, dtype=dtype), matrix(200, 264, dtype=dtype, seed=1)
    bias = matrix(1, 264, seed=2, dtype=dtype)[0] if biased else None
    fold = torch.linspace(0.1, 1.1, 200)[:, None]
    codes, scale, columns, its_scale, sums = fp8_kernels.dgelu_quantise(
        dy, x, bias, fold=fold, **TWIN, faults=None
    )
    inner = x.double() + bias.double() if biased else x.double()
    wanted = dy.double() * reference.gelu_slope(inner)
    ulps = SCALE_ULPS["gelu's gradient"]
    assert close(codes, scale, wanted, ulps=ulps)
    turned = (wanted * fold.double()).t().contiguous()
    assert close(columns[:, :200].contiguous(), its_scale, turned, ulps=ulps)
    assert not bits(columns)[:, 200:].any()
    torch.testing.assert_close(sums.double(), wanted.sum(0), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("tokens", "size"), [(1, 8), (16, 64), (130, 72)])
def test_transposing_is_the_references(tokens: int, size: int):
    codes = torch.arange(tokens * size).to(torch.uint8).view(tokens, size).view(E4M3)
    found = fp8_kernels.transpose_codes(codes, **TWIN)
    assert torch.equal(bits(found), bits(reference.transpose_codes(codes)))


def test_tensors_may_lie_anywhere():
    """Rows cut from wider ones, vectors at odd addresses, other dtypes of parameters."""
    wide, other = matrix(20, 100), matrix(20, 100, seed=1)
    for begin in (0, 3, 8):
        x, dy = wide[:, begin : begin + 24], other[:, begin : begin + 24]
        vector = wide[0, begin : begin + 24]
        alone = x.clone(), vector.clone()
        plain = {**TWIN, "faults": None}
        assert same(
            fp8_kernels.quantise_rows(x, **plain),
            fp8_kernels.quantise_rows(alone[0], **plain),
        )
        for bias in (vector, vector.half(), wide.t()[:24, 0]):
            assert same(
                fp8_kernels.bias_gelu_quantise(x, bias, **plain),
                fp8_kernels.bias_gelu_quantise(alone[0], bias.float(), **plain),
            )
            how = {"fold": wide.float()[:, begin : begin + 1], **plain}
            assert same(
                fp8_kernels.dgelu_quantise(dy, x, bias, **how),
                fp8_kernels.dgelu_quantise(dy.clone(), alone[0], bias.float(), **how),
            )


REFUSED: list[tuple[Callable[[Any], Any], str]] = [
    (lambda x: {"size": 12}, "a shape that the kernel does not take"),
    (lambda x: {"size": 16392}, "a shape that the kernel does not take"),
    (lambda x: {"source": 3}, "a shape that the kernel does not take"),
    (lambda x: {"dtype": 2}, "a dtype that the kernel does not take"),
    (lambda x: {"codes": None}, "a null pointer"),
    (lambda x: {"source": 1}, "a null pointer"),
    (lambda x: {"x": x.data_ptr() + 8}, "a pointer or stride that is no multiple of 16 bytes"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_the_kernels_refuse_what_they_cannot_do(change: Callable[[Any], Any], message: str):
    x, out = torch.zeros(2, 16), torch.zeros(64)
    fields = {"codes": out.data_ptr(), "scales": out.data_ptr(), "x": x.data_ptr(), "dtype": 1}
    fields |= {"row_stride": 16, "rows": 2, "size": 16}
    args = fp8_kernels._Rows(**fields)
    kernels.host().call("reft_quantise_rows", args, x)
    for name, value in change(x).items():
        setattr(args, name, value)
    with pytest.raises(ValueError, match=f"^reft_quantise_rows: {message} "):
        kernels.host().call("reft_quantise_rows", args, x)


def everywhere(device: str) -> list[str]:
    """What a device's operators give that is out of its band; a play of tests/gpu.py."""
    wrong = []

    def check(name: str, holds: bool) -> None:
        wrong.extend([] if holds else [name])

    x = every_pattern()
    x = torch.cat([x, x.new_zeros(-len(x) % 255)]).view(-1, 255)
    told = torch.cat([x, torch.full((len(x), 1), math.inf)], dim=1).to(device)
    codes = bits(fp8.quantise_rows(told).codes.cpu())
    check("every pattern", same_codes(codes[:, :255], nearest(x)))
    shapes = [(130, 72), (65, 4104), (200, 264)]
    for dtype, (tokens, size) in itertools.product(DTYPES, shapes):
        about = f"of {tokens} x {size} {dtype}"
        x, fold = wild(tokens, size, dtype), torch.linspace(0.1, 1.1, tokens)[:, None]
        rows = tuple(part.cpu() for part in fp8.quantise_rows(x.to(device)))
        check(f"rows {about}", same(rows, reference.quantise_rows(x, faults=None)))
        found = fp8.quantise_gradient(x.to(device), fold=fold.to(device))
        wanted = reference.quantise_gradient(x, fold=fold, faults=None)
        parts = tuple(part.cpu() for part in (*found.rows, *found.columns))
        check(f"gradient {about}", same(parts, wanted[:4]))
        turned = fp8.transpose_codes(found.rows.codes).cpu()
        check(f"transposed {about}", same((turned,), (reference.transpose_codes(parts[0]),)))
        x, dy, bias = (matrix(n, size, dtype=dtype, seed=n) for n in (tokens, tokens, 1))
        there = [tensor.to(device) for tensor in (dy, x, bias[0])]
        inner = x.double() + bias.double()
        rows = tuple(part.cpu() for part in fp8.bias_gelu_quantise(*there[1:]))
        check(f"gelu {about}", close(*rows, reference.gelu(inner), ulps=SCALE_ULPS["gelu"]))
        found = fp8.dgelu_quantise(*there, fold=fold.to(device))
        dx = dy.double() * reference.gelu_slope(inner)
        rows = tuple(part.cpu() for part in found.rows)
        check(f"gelu's gradient {about}", close(*rows, dx, ulps=SCALE_ULPS["gelu's gradient"]))
        off = (found.bias.cpu().double() - dx.sum(0)).abs().max()
        check(f"gelu's sums {about}", bool(off < 1e-4 * dx.abs().sum(0).max()))
        normal = fp8.layer_norm_quantise(there[1], there[2], there[2], eps=1e-5)
        vector = bias[0].double()
        wanted = torch.native_layer_norm(x.double(), [size], vector, vector, 1e-5)[0]
        rows = tuple(part.cpu() for part in normal.rows)
        check(f"LayerNorm {about}", close(*rows, wanted, ulps=SCALE_ULPS["layer norm"]))
    return wrong


def test_it_holds_on_this_processor():
    assert everywhere("cpu") == []


def test_it_holds_on_a_gpu(on_gpu: Callable[..., Any]):
    assert on_gpu(everywhere, "cuda") == []
