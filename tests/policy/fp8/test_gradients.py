"""The formulas of the FP8 layers' backward passes, by differences in fp64.

Codes and scales are here fp64 numbers that lose nothing, so what is left is algebra: which factor
goes where, transposed codes, scales folded into gradients, sums over tokens, the norm.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from reft_megatron.ops.fp8 import Codes, Gradient, Normalised
from reft_megatron.ops.reference import fp8 as reference
from reft_megatron.policy.fp8 import products
from reft_megatron.policy.fp8.products import Norm, Spread, feed_forward, linear

T, K, F, N, EPS = 5, 4, 6, 3, 1e-5


def scaled(x: Tensor) -> Codes:
    """x as codes with unlike scales of its rows."""
    scale = torch.linspace(0.3, 3.1, len(x), dtype=x.dtype)[:, None]
    return Codes(x / scale, scale)


def quantise_rows(x: Tensor, *, faults: Tensor) -> Codes:
    return scaled(x)


def as_gradient(dy: Tensor, fold: Tensor | None) -> Gradient:
    folded = dy if fold is None else dy * fold
    return Gradient(scaled(dy), scaled(folded.t()), dy.sum(0))


class ExactWeights:
    version = 0

    def rows(self, weight: Tensor) -> Codes:
        return scaled(weight)

    def columns(self, weight: Tensor) -> Codes:
        return scaled(weight.t())

    def faults(self, device: torch.device) -> Tensor:
        return torch.zeros(1, dtype=torch.int32, device=device)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, *, eps: float, faults: Tensor):
    normed, mean, rstd = torch.native_layer_norm(x, x.shape[1:], weight, bias, eps)
    return Normalised(scaled(normed), mean[:, 0], rstd[:, 0])


def product(a: Codes, b: Codes, *, bias: Tensor | None = None, **_: object) -> Tensor:
    out = (a.codes * a.scale) @ (b.codes * b.scale).t()
    return out if bias is None else out + bias


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> ExactWeights:
    """Weights for products that lose nothing."""
    for name, function in {
        "quantise_rows": quantise_rows,
        "layer_norm_quantise": layer_norm,
        "bias_gelu_quantise": lambda x, bias, *, faults: scaled(reference.gelu(x + bias)),
        "quantise_gradient": lambda dy, *, fold, faults: as_gradient(dy, fold),
        "dgelu_quantise": lambda dy, x, bias, *, fold, faults: as_gradient(
            dy * reference.gelu_slope(x + bias), fold
        ),
        "scaled_matmul": product,
        "transpose_codes": lambda codes: codes.t(),
        "unscaled": lambda codes: Codes(codes, torch.ones(len(codes), 1, dtype=codes.dtype)),
    }.items():
        monkeypatch.setattr(products, name, function)
    return ExactWeights()


def leaves(*shapes: tuple[int, ...]) -> list[Tensor]:
    draw = torch.Generator().manual_seed(4)
    made = [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes]
    return [tensor.requires_grad_() for tensor in made]


@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_a_linear_layer(exact: ExactWeights, *, normed: bool, biased: bool):
    def ours(x, weight, bias, *norm):
        how = Norm(weight=norm[0], bias=norm[1], eps=EPS) if norm else None
        bias = bias if biased else None
        return linear(x, weight, bias, weights=exact, spread=Spread(), norm=how)

    given = leaves((T, 1, K), (N, K), (N,), *[(K,)] * 2 * normed)
    if not biased:
        given[2].requires_grad_(requires_grad=False)
    x, weight, bias, *norm = given
    wanted = functional.linear(
        functional.layer_norm(x, (K,), *norm, EPS) if normed else x,
        weight,
        bias if biased else None,
    )
    torch.testing.assert_close(ours(*given), wanted)
    assert torch.autograd.gradcheck(ours, given)


def test_a_feed_forward_block(exact: ExactWeights):
    def ours(x, into, bias, out, *norm):
        how = Norm(weight=norm[0], bias=norm[1], eps=EPS)
        return feed_forward(x, (into, bias), out, weights=exact, spread=Spread(), norm=how)

    given = leaves((T, 1, K), (F, K), (F,), (N, F), (K,), (K,))
    x, into, bias, out, *norm = given
    hidden = functional.linear(functional.layer_norm(x, (K,), *norm, EPS), into, bias)
    torch.testing.assert_close(ours(*given), functional.linear(functional.gelu(hidden), out))
    assert torch.autograd.gradcheck(ours, given)
