"""FP8 factors and products: the algebra of a linear layer, what is refused, what torch expects."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from reft_megatron.ops import fp8
from reft_megatron.ops.fp8 import Codes
from tests.ops.fp8_scene import bits, error, matrix, value

E4M3 = torch.float8_e4m3fn
# Gaussian factors with three bits of mantissa; fp8.md's band, which is an alarm at 1.5 times it.
PRODUCT = 1.5 * 3.7e-2


def test_a_linear_layer_of_codes_is_the_layer_within_the_band():
    """Forward, gradient of the input, of the weight with folded scales, of the bias."""
    x, weight, dy = matrix(100, 64), matrix(48, 64, seed=1), matrix(100, 48, seed=2)
    x8 = fp8.quantise_rows(x)
    y = fp8.scaled_matmul(x8, fp8.quantise_rows(weight), out_dtype=torch.float32)
    g = fp8.quantise_gradient(dy, fold=x8.scale)
    dx = fp8.scaled_matmul(g.rows, fp8.quantise_columns(weight), out_dtype=torch.float32)
    dw = fp8.scaled_matmul(
        g.columns, fp8.unscaled(fp8.transpose_codes(x8.codes)), out_dtype=torch.float32
    )
    wide = {"x": x.double(), "w": weight.double(), "dy": dy.double()}
    assert error(y, wide["x"] @ wide["w"].t()) < PRODUCT
    assert error(dx, wide["dy"] @ wide["w"]) < PRODUCT
    assert error(dw, wide["dy"].t() @ wide["x"]) < PRODUCT
    torch.testing.assert_close(g.bias.double(), wide["dy"].sum(0), rtol=1e-5, atol=1e-4)


def test_folding_scales_into_the_gradient_changes_no_algebra():
    """(dy o s)^T x8 with unquantised dy is dy^T of what the codes of x stand for."""
    x, dy = matrix(64, 32), matrix(64, 16, seed=1, dtype=torch.float32).double()
    x8 = fp8.quantise_rows(x)
    folded = (dy * x8.scale.double()).t() @ x8.codes.double()
    torch.testing.assert_close(folded, dy.t() @ value(x8), rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("out_dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_a_product_is_that_of_its_codes(out_dtype: torch.dtype):
    a, b = fp8.quantise_rows(matrix(37, 96)), fp8.quantise_rows(matrix(48, 96, seed=1))
    bias = None if out_dtype == torch.float32 else torch.randn(48).to(out_dtype)
    wanted = value(a) @ value(b).t() + (0 if bias is None else bias.double())
    found = fp8.scaled_matmul(a, b, bias=bias, out_dtype=out_dtype)
    assert found.dtype == out_dtype
    band = {torch.bfloat16: 1e-3 + 1.7e-3, torch.float16: 1e-3, torch.float32: 1e-6}[out_dtype]
    assert error(found, wanted) < band


def test_a_token_is_the_same_whatever_its_neighbours():
    x, weight = matrix(20, 32), fp8.quantise_rows(matrix(16, 32, seed=1))
    whole = fp8.quantise_rows(x)
    y = fp8.scaled_matmul(whole, weight)
    for i in range(0, 20, 7):
        one = fp8.quantise_rows(x[i : i + 1])
        assert torch.equal(bits(one.codes)[0], bits(whole.codes)[i])
        assert torch.equal(fp8.scaled_matmul(one, weight)[0], y[i])


def scene() -> dict[str, Any]:
    return {
        "a": fp8.quantise_rows(matrix(5, 32)),
        "b": fp8.quantise_rows(matrix(16, 32, seed=1)),
    }


PRODUCTS = [
    (lambda x: x.update(a=Codes(x["a"].codes.t(), x["a"].scale)), "a (32, 5) torch.float8_e4m3fn"),
    (lambda x: x.update(a=Codes(x["a"].codes.float(), x["a"].scale)), "a (5, 32) torch.float32"),
    (
        lambda x: x.update(b=Codes(x["b"].codes.view(torch.float8_e5m2), x["b"].scale)),
        "b (16, 32) torch.float8_e5m2",
    ),
    (lambda x: x.update(a=Codes(x["a"].codes, x["a"].scale[0])), "scale of a (1,) torch.float32"),
    (lambda x: x.update(b=Codes(x["b"].codes, x["a"].scale)), "scale of b (5, 1) torch.float32"),
    (
        lambda x: x.update(b=Codes(x["b"].codes, torch.ones(16, 2)[:, :1])),
        "scale of b (16, 1) torch.float32 with strides (2, 1)",
    ),
    (lambda x: x.update(a=fp8.quantise_rows(matrix(5, 40))), "a [5, 40] and b [16, 32]"),
    (
        lambda x: x.update({n: fp8.quantise_rows(matrix(16, 24)) for n in "ab"}),
        "a [16, 24] and b [16, 24]",
    ),
    (lambda x: x.update(b=fp8.quantise_rows(matrix(17, 32))), "a [5, 32] and b [17, 32]"),
    (lambda x: x.update(out_dtype=torch.float64), "a product in torch.float64"),
    (
        lambda x: x.update(bias=torch.ones(16), out_dtype=torch.float32),
        "bias (16,) torch.float32 for 16 channels in torch.float32",
    ),
    (lambda x: x.update(bias=torch.ones(16)), "bias torch.float32 for a product in torch.bfloat16"),
    (lambda x: x.update(bias=torch.ones(8).bfloat16()), "bias (8,) torch.bfloat16 for 16 channels"),
]


@pytest.mark.parametrize(("change", "message"), PRODUCTS)
def test_what_a_gpu_would_refuse_is_refused(change: Any, message: str):
    x = scene()
    change(x)
    with pytest.raises(ValueError, match=r"; wanted ") as refused:
        fp8.scaled_matmul(x.pop("a"), x.pop("b"), **x)
    assert str(refused.value).startswith(message)


X, B, FOLD = matrix(5, 24), torch.ones(24), torch.ones(5, 1)
REFUSED = [
    (lambda: fp8.quantise_rows(X[0]), "x (24,) torch.bfloat16"),
    (lambda: fp8.quantise_rows(X.double()), "x (5, 24) torch.float64"),
    (lambda: fp8.quantise_columns(X[:0]), "x (0, 24) torch.bfloat16"),
    (lambda: fp8.quantise_rows(X, faults=torch.zeros(1)), "faults (1,) torch.float32"),
    (lambda: fp8.quantise_columns(X, fold=FOLD[:, 0]), "fold (5,) torch.float32"),
    (lambda: fp8.quantise_gradient(X, fold=FOLD.bfloat16()), "fold (5, 1) torch.bfloat16"),
    (lambda: fp8.transpose_codes(X), "codes (5, 24) torch.bfloat16"),
    (lambda: fp8.layer_norm_quantise(X, B, B[:8], eps=1e-5), "bias (8,) torch.float32"),
    (lambda: fp8.layer_norm_quantise(X, B, B.half(), eps=1e-5), "weight torch.float32 and bias"),
    (lambda: fp8.bias_gelu_quantise(X, B.double()), "bias (24,) torch.float64"),
    (lambda: fp8.dgelu_quantise(X, X.float(), None), "x (5, 24) torch.float32 for dy (5, 24)"),
    (lambda: fp8.dgelu_quantise(X, X[:4], None), "x (4, 24) torch.bfloat16 for dy (5, 24)"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_does_not_fit_is_refused(call: Any, message: str):
    with pytest.raises(ValueError, match=r"; wanted ") as refused:
        call()
    assert str(refused.value).startswith(message)


def test_a_gpu_without_fp8_is_named(monkeypatch: pytest.MonkeyPatch):
    assert fp8.refusal(torch.device("cpu")) == ""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA A100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 9))
    assert fp8.refusal(torch.device("cuda")) == ""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert fp8.refusal(torch.device("cuda")).startswith("NVIDIA A100 is sm_80, and FP8 products ")
