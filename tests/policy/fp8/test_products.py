"""FP8 products and their gradients against the same in fp32, in the bands of the contract.

Relative Frobenius distances of Gaussian factors: 3.7e-2 of one product, as 2.6e-2 of each factor
make it, and 5.3e-2 of two in a row; an alarm at half as much again.
"""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from reft_megatron.ops.fp8 import quantise_columns, quantise_rows
from reft_megatron.ops.reference.e4m3 import dequantise
from reft_megatron.policy.fp8.products import Norm, Spread, feed_forward, linear
from reft_megatron.policy.fp8.weights import Fp8Weights

T, K, F, N = 72, 96, 384, 160
ONE_PRODUCT, TWO_PRODUCTS = 1.5 * 3.7e-2, 1.5 * 5.3e-2
EPS = 1e-5


def gauss(*shape: int, seed: int, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(*shape, generator=generator)).bfloat16()


def far(found: torch.Tensor, wanted: torch.Tensor) -> float:
    found, wanted = found.detach().float(), wanted.detach().float()
    return float((found - wanted).norm() / wanted.norm())


def grads(function, tensors, gradient) -> tuple[torch.Tensor, list[torch.Tensor]]:
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    out = function(*leaves)
    out.backward(gradient.to(out.dtype))
    return out.detach(), [leaf.grad for leaf in leaves]


@pytest.fixture
def codes() -> Fp8Weights:
    return Fp8Weights(always=True)


def test_a_product_is_that_of_its_codes(codes: Fp8Weights):
    x, weight = gauss(T, 1, K, seed=1), gauss(N, K, seed=2)
    found = linear(x, weight, weights=codes, spread=Spread())
    (x8, s), (w8, t) = quantise_rows(x[:, 0]), quantise_rows(weight)
    exact = dequantise(x8, s[:, 0]).double() @ dequantise(w8, t[:, 0]).double().t()
    assert found.shape == (T, 1, N)
    assert found.dtype == torch.bfloat16
    assert far(found[:, 0], exact) < 2e-3, "bf16 rounds by 1.7e-3"


def test_gradients_are_those_of_the_codes(codes: Fp8Weights):
    """dx = dy8 W8 with W^T's own scales; dW = (dy o s)8^T x8, the codes of x as they were."""
    x, weight, dy = gauss(T, 1, K, seed=1), gauss(N, K, seed=2), gauss(T, 1, N, seed=3)
    _, (dx, dweight) = grads(
        lambda x, w: linear(x, w, weights=codes, spread=Spread()), (x, weight), dy
    )
    (x8, s), (g8, u) = quantise_rows(x[:, 0]), quantise_rows(dy[:, 0])
    (w8, t), (h8, v) = quantise_columns(weight), quantise_columns(dy[:, 0], fold=s)
    exact = dequantise(g8, u[:, 0]).double() @ dequantise(w8, t[:, 0]).double().t()
    assert far(dx[:, 0], exact) < 2e-3
    exact = dequantise(h8, v[:, 0]).double()[:, :T] @ x8.double()
    assert far(dweight, exact) < 2e-3


@pytest.mark.parametrize("normed", [False, True])
def test_a_linear_layer_is_near_that_of_fp32(codes: Fp8Weights, *, normed: bool):
    tensors = [
        gauss(T, 1, K, seed=1, scale=3),
        gauss(N, K, seed=2),
        gauss(N, seed=3),
        *(1 + gauss(K, seed=4, scale=0.2), gauss(K, seed=5)),
    ][: 5 if normed else 3]
    dy = gauss(T, 1, N, seed=6)

    def ours(x, weight, bias, *norm):
        learned = Norm(weight=norm[0], bias=norm[1], eps=EPS) if norm else None
        return linear(x, weight, bias, weights=codes, spread=Spread(), norm=learned)

    def plain(x, weight, bias, *norm):
        x = functional.layer_norm(x, (K,), *norm, EPS) if norm else x
        return functional.linear(x, weight, bias)

    out, found = grads(ours, tensors, dy)
    exact, wanted = grads(plain, [tensor.float() for tensor in tensors], dy)
    assert far(out, exact) < ONE_PRODUCT
    names = ("x", "weight", "bias", "norm weight", "norm bias")
    for name, one, other, tensor in zip(names, found, wanted, tensors, strict=False):
        assert one.dtype == tensor.dtype
        assert far(one, other) < (5e-3 if name == "bias" else ONE_PRODUCT), name


def test_a_feed_forward_block_is_near_that_of_fp32(codes: Fp8Weights):
    tensors = [
        gauss(T, 1, K, seed=1, scale=3),
        gauss(F, K, seed=2, scale=0.1),
        gauss(F, seed=3, scale=0.1),
        gauss(N, F, seed=4, scale=0.1),
        1 + gauss(K, seed=5, scale=0.2),
        gauss(K, seed=6, scale=0.2),
    ]
    dy = gauss(T, 1, N, seed=7)

    def ours(x, into, bias, out, *norm):
        learned = Norm(weight=norm[0], bias=norm[1], eps=EPS)
        return feed_forward(x, (into, bias), out, weights=codes, spread=Spread(), norm=learned)

    def plain(x, into, bias, out, *norm):
        hidden = functional.linear(functional.layer_norm(x, (K,), *norm, EPS), into, bias)
        return functional.linear(functional.gelu(hidden), out)

    out, found = grads(ours, tensors, dy)
    exact, wanted = grads(plain, [tensor.float() for tensor in tensors], dy)
    distances = [far(out, exact), *(far(a, b) for a, b in zip(found, wanted, strict=True))]
    print("\nfeed-forward block: " + ", ".join(f"{d:.1e}" for d in distances))
    assert max(distances) < 1.5 * TWO_PRODUCTS
    assert far(out, exact) < TWO_PRODUCTS


def test_gelu_is_the_one_with_the_error_function(codes: Fp8Weights):
    """Both forms are 4.7e-4 apart at most: told apart at one bias, without noise."""
    x = torch.zeros(16, 1, 16).bfloat16()
    into, out = torch.zeros(16, 16).bfloat16(), torch.eye(16).bfloat16()
    norm = Norm(weight=torch.ones(16).bfloat16(), bias=torch.zeros(16).bfloat16(), eps=EPS)
    bias = torch.full((16,), -2.25).bfloat16()
    found = feed_forward(x, (into, bias), out, weights=codes, spread=Spread(), norm=norm)
    wanted = functional.gelu(bias.float()).bfloat16()
    assert torch.equal(found[0, 0], wanted)
    assert not torch.equal(
        found[0, 0], functional.gelu(bias.float(), approximate="tanh").bfloat16()
    )


def test_a_token_does_not_depend_on_its_neighbours(codes: Fp8Weights):
    x, weight = gauss(T, 1, K, seed=1), gauss(N, K, seed=2)
    loud = x.clone()
    loud[1:] *= 50
    quiet = linear(x, weight, weights=codes, spread=Spread())
    assert torch.equal(linear(loud, weight, weights=codes, spread=Spread())[0], quiet[0])
    assert torch.equal(linear(x[:1], weight, weights=codes, spread=Spread())[0], quiet[0])


def test_weights_that_change_between_the_passes_are_a_bug(codes: Fp8Weights):
    x, weight = gauss(T, 1, K, seed=1).requires_grad_(), gauss(N, K, seed=2).requires_grad_()
    out = linear(x, weight, weights=codes, spread=Spread())
    codes.changed()
    with pytest.raises(AssertionError, match="have changed between the forward and the backward"):
        out.sum().backward()


def test_what_is_not_finite_is_counted(codes: Fp8Weights):
    """In FP8 an infinity is +-448, and a loss would not show it."""
    x, weight = gauss(T, 1, K, seed=1), gauss(N, K, seed=2)
    linear(x, weight, weights=codes, spread=Spread())
    assert codes.faults(x.device).tolist() == [0]
    x[3, 0, 5] = float("inf")
    out = linear(x, weight, weights=codes, spread=Spread())
    assert out.isfinite().all()
    assert codes.faults(x.device).tolist() == [1]
