"""The FP8 reference against what it is made of: rows, columns, and fp64."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from reft_megatron.ops.reference import fp8 as reference
from reft_megatron.ops.reference.e4m3 import quantise
from tests.ops.fp8_scene import DTYPES, bits, matrix


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rows_are_vectors_of_the_format(dtype: torch.dtype):
    x = matrix(40, 72, dtype=dtype)
    codes, scale = reference.quantise_rows(x, faults=None)
    wanted, its_scale = quantise(x)
    assert torch.equal(bits(codes), bits(wanted))
    assert torch.equal(scale, its_scale[:, None])


@pytest.mark.parametrize("tokens", [1, 16, 37])
def test_columns_are_rows_of_the_transposed_with_zeros_behind(tokens: int):
    x, fold = matrix(tokens, 24), torch.rand(tokens, 1) + 0.5
    for given, wide in ((None, x), (fold, x.float() * fold)):
        codes, scale = reference.quantise_columns(x, fold=given, faults=None)
        wanted, its_scale = reference.quantise_rows(wide.t().contiguous(), faults=None)
        assert codes.is_contiguous()
        assert codes.shape == (24, math.ceil(tokens / 16) * 16)
        assert torch.equal(bits(codes)[:, :tokens], bits(wanted))
        assert not bits(codes)[:, tokens:].any()
        assert torch.equal(scale, its_scale)
    assert torch.equal(
        bits(reference.transpose_codes(wanted.t().contiguous()))[:, :tokens], bits(wanted)
    )


def test_what_is_not_finite_is_counted_by_row_and_by_column():
    x = matrix(20, 16, dtype=torch.float32)
    x[3, 5], x[3, 6], x[9, 5] = math.nan, math.inf, -math.inf
    faults = torch.zeros(1, dtype=torch.int32)
    codes, scale, columns, its_scale, sums = reference.quantise_gradient(
        x, fold=None, faults=faults
    )
    assert faults.item() == 2 + 2
    assert scale[[3, 9], 0].tolist() == its_scale[[5, 6], 0].tolist() == [1.0, 1.0]
    assert codes[3, 5].float().isnan()
    assert columns[5, 3].float().isnan()
    assert [codes[3, 6].item(), codes[9, 5].item()] == [448.0, -448.0]
    assert sums[:5].isfinite().all()


def test_layer_norm_is_torchs():
    x, weight, bias = matrix(30, 64), matrix(1, 64)[0], matrix(1, 64, seed=1)[0]
    codes, scale, mean, rstd = reference.layer_norm_quantise(x, weight, bias, eps=1e-5, faults=None)
    wide = [y.double() for y in (x, weight, bias)]
    normalised, *moments = torch.native_layer_norm(wide[0], [64], *wide[1:], 1e-5)
    for found, wanted in zip((mean, rstd), moments, strict=True):
        torch.testing.assert_close(found.double(), wanted[:, 0], rtol=1e-5, atol=1e-6)
    # a code is half a unit of its last place off: a sixteenth, or 2^-10 where it is subnormal
    off = (codes.double() * scale - normalised).abs()
    assert (off <= 1.0001 * torch.maximum(normalised.abs() / 16, scale * 2.0**-10)).all()


def test_gelu_is_that_of_the_error_function_and_its_slope_is_its_derivative():
    x = torch.linspace(-12, 12, 97, dtype=torch.float64, requires_grad=True)
    y = reference.gelu(x)
    torch.testing.assert_close(y, functional.gelu(x), rtol=1e-13, atol=1e-13)
    y.sum().backward()
    torch.testing.assert_close(reference.gelu_slope(x.detach()), x.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("biased", [True, False])
def test_gelu_and_its_derivative_are_quantised_from_what_is_not_rounded(biased: bool):
    x, dy = matrix(33, 48), matrix(33, 48, seed=1)
    bias = matrix(1, 48, seed=2)[0] if biased else None
    inner = x.float() + bias.float() if biased else x.float()
    codes, scale = reference.bias_gelu_quantise(x, bias, faults=None)
    wanted = reference.quantise_rows(reference.gelu(inner), faults=None)
    assert torch.equal(bits(codes), bits(wanted[0]))
    assert torch.equal(scale, wanted[1])
    fold = torch.rand(33, 1)
    found = reference.dgelu_quantise(dy, x, bias, fold=fold, faults=None)
    dx = dy.float() * reference.gelu_slope(inner)
    wanted = reference.quantise_gradient(dx, fold=fold, faults=None)
    for ours, its in zip(found, wanted, strict=True):
        same = (bits(ours), bits(its)) if ours.dtype == torch.float8_e4m3fn else (ours, its)
        assert torch.equal(*same)
