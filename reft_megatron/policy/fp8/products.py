"""FP8 products with a gradient: a linear layer, and a whole feed-forward block.

Owns the two autograd functions and how codes travel between tensor-parallel ranks. Formats and
scales are those of `ops.fp8`: all factors are E4M3; activations and gradients have a scale for each
token, weights one for each channel of the product's output, and the weight's gradient folds the
tokens' scales into the gradient, so that the codes of the forward pass serve again. (Transformer
Engine's hybrid recipe takes E5M2 for gradients, whose range one scale a tensor needs and whose
error is half as large again.)

A token is quantised where it is, before tokens that are split over ranks are gathered: codes
travel, half the bytes. Scales are of what a rank has. In a column-parallel product that is whole
tokens and whole rows of the weight, so its codes are those of one rank, bit for bit. In a
row-parallel one it is a part of either, with finer scales than the whole would have: nothing has to
be agreed on, and results differ from one rank's within the noise of quantising.

Sums are fp32, rounded once to the activations' dtype; Megatron adds the weights' gradients of
micro-batches in fp32. As in Transformer Engine the forward pass alone lets a GPU keep its sums in
fewer bits.

Legend: T tokens, K input, F inner and N output channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from reft_megatron.ops.fp8 import (
    Codes,
    Gradient,
    bias_gelu_quantise,
    dgelu_quantise,
    layer_norm_quantise,
    quantise_gradient,
    quantise_rows,
    scaled_matmul,
    transpose_codes,
    unscaled,
)
from reft_megatron.policy.fp8.weights import Fp8Weights

__all__ = ["How", "Norm", "Spread", "feed_forward", "linear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How tokens and their gradients travel between tensor-parallel ranks."""

    group: Any = None
    """The ranks; None where nothing travels."""
    gathers: bool = False
    """Each rank has some of the tokens (sequence parallelism)."""
    sums: bool = False
    """Each rank has all tokens, and a summand of their gradient."""

    @property
    def ranks(self) -> int:
        """Ranks that tokens are split over."""
        return dist.get_world_size(self.group) if self.gathers else 1

    def gather(self, rows: Codes) -> Codes:
        """The codes of all tokens."""
        if not self.gathers:
            return rows
        # As bytes: not every backend knows FP8.
        codes = self._gather(rows.codes.view(torch.uint8)).view(rows.codes.dtype)
        return Codes(codes, self._gather(rows.scale))

    def reduce(self, gradient: Tensor) -> tuple[Tensor, Any]:
        """(sum over the ranks, of the rank's own tokens where they are split; whom to wait for)."""
        if self.gathers:
            own = gradient.new_empty(len(gradient) // self.ranks, gradient.shape[1])
            return own, dist.reduce_scatter_tensor(own, gradient, group=self.group, async_op=True)
        if self.sums:
            return gradient, dist.all_reduce(gradient, group=self.group, async_op=True)
        return gradient, None

    def _gather(self, x: Tensor) -> Tensor:
        whole = x.new_empty(len(x) * self.ranks, x.shape[1])
        dist.all_gather_into_tensor(whole, x, group=self.group)
        return whole


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """What a product needs to know beside its tensors."""

    weights: Fp8Weights
    """The codes of the weights."""
    spread: Spread
    """Over which ranks."""
    faults: Tensor
    """Where rows that are not finite are counted."""
    eps: float = 0.0
    """Of the LayerNorm before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """A LayerNorm before a product."""

    weight: Tensor
    """[K]."""
    bias: Tensor
    """[K]."""
    eps: float
    """Added to the variance."""


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    weights: Fp8Weights,
    spread: Spread,
    norm: Norm | None = None,
) -> Tensor:
    """norm(x) W^T + b, [S, B, N] in the dtype of x [S, B, K]; weight [N, K] and bias [N] alike.

    Where tokens are split over ranks, x has the rank's own and the result those of all.
    """
    faults = weights.faults(x.device)
    how = How(weights=weights, spread=spread, faults=faults, eps=norm.eps if norm else 0.0)
    learned = (norm.weight, norm.bias) if norm else (None, None)
    out: Tensor = _Linear.apply(x, weight, bias, *learned, how)
    return out


def feed_forward(
    x: Tensor,
    into: tuple[Tensor, Tensor],
    out: Tensor,
    *,
    weights: Fp8Weights,
    spread: Spread,
    norm: Norm,
) -> Tensor:
    """gelu(norm(x) W1^T + b1) W2^T, [S, B, N] in the dtype of x [S, B, K].

    `into` is W1 [F, K] and b1 [F], `out` W2 [N, F]; GELU is the one with the error function. Tokens
    as in `linear`.
    """
    how = How(weights=weights, spread=spread, faults=weights.faults(x.device), eps=norm.eps)
    found: Tensor = _FeedForward.apply(x, *into, out, norm.weight, norm.bias, how)
    return found


class _Linear(torch.autograd.Function):
    """See `linear`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        norm_weight: Tensor | None,
        norm_bias: Tensor | None,
        how: How,
    ) -> Tensor:
        """[S, B, N]."""
        rows, normed = _quantise(x, (norm_weight, norm_bias), how)
        out = _multiply(how.spread.gather(rows), weight, how, dtype=x.dtype, bias=bias)
        ctx.save_for_backward(weight, *rows, *normed)
        ctx.how, ctx.version, ctx.shape, ctx.biased = (
            how,
            how.weights.version,
            x.shape,
            bias is not None,
        )
        return _unflat(out, x.shape, how.spread.ranks)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """Of x, the weight, the bias, and the norm's two."""
        weight, codes, scale, *normed = ctx.saved_tensors
        how: How = ctx.how
        _check_version(ctx)
        whole = how.spread.gather(Codes(codes, scale))
        g = quantise_gradient(_flat(dy), fold=whole.scale, faults=how.faults)
        dx, dweight = _gradients(g, weight, whole.codes, how=how, dtype=dy.dtype)
        dx, *dnorm = _norm_gradient(dx, normed)
        dbias = g.bias.to(weight.dtype) if ctx.biased else None
        return dx.view(ctx.shape), dweight, dbias, *dnorm, None


class _FeedForward(torch.autograd.Function):
    """See `feed_forward`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        into: Tensor,
        bias: Tensor,
        out: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        how: How,
    ) -> Tensor:
        """[S, B, N]."""
        rows, normed = _quantise(x, (norm_weight, norm_bias), how)
        inner = _multiply(how.spread.gather(rows), into, how, dtype=x.dtype)
        hidden = bias_gelu_quantise(inner, bias, faults=how.faults)
        y = _multiply(hidden, out, how, dtype=x.dtype)
        ctx.save_for_backward(into, bias, out, *rows, inner, *hidden, *normed)
        ctx.how, ctx.version, ctx.shape = how, how.weights.version, x.shape
        return _unflat(y, x.shape, how.spread.ranks)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """Of x, W1, b1, W2, and the norm's two."""
        into, bias, out, codes, scale, inner, hidden, hidden_scale, *normed = ctx.saved_tensors
        how: How = ctx.how
        _check_version(ctx)
        alone = How(weights=how.weights, spread=Spread(), faults=how.faults)
        g = quantise_gradient(_flat(dy), fold=hidden_scale, faults=how.faults)
        dhidden, dout = _gradients(g, out, hidden, how=alone, dtype=dy.dtype)
        whole = how.spread.gather(Codes(codes, scale))
        g = dgelu_quantise(dhidden, inner, bias, fold=whole.scale, faults=how.faults)
        dx, dinto = _gradients(g, into, whole.codes, how=how, dtype=dy.dtype)
        dx, *dnorm = _norm_gradient(dx, normed)
        return dx.view(ctx.shape), dinto, g.bias.to(bias.dtype), dout, *dnorm, None


def _quantise(
    x: Tensor, norm: tuple[Tensor | None, Tensor | None], how: How
) -> tuple[Codes, tuple[Tensor, ...]]:
    """Codes of the tokens, normed if there is a norm, and what its backward pass wants."""
    flat, (weight, bias) = _flat(x), norm
    if weight is None or bias is None:
        return quantise_rows(flat, faults=how.faults), ()
    made = layer_norm_quantise(flat, weight, bias, eps=how.eps, faults=how.faults)
    return made.rows, (flat, made.mean, made.rstd, weight, bias)


def _multiply(
    rows: Codes, weight: Tensor, how: How, *, dtype: torch.dtype, bias: Tensor | None = None
) -> Tensor:
    return scaled_matmul(rows, how.weights.rows(weight), bias=bias, out_dtype=dtype, fast=True)


def _gradients(
    g: Gradient, weight: Tensor, codes: Tensor, *, how: How, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Of what went into a product, the codes [T, K] before scales, and of the weight."""
    dx = scaled_matmul(g.rows, how.weights.columns(weight), out_dtype=dtype)
    dx, pending = how.spread.reduce(dx)  # while the weight's gradient is computed
    dweight = scaled_matmul(g.columns, unscaled(transpose_codes(codes)), out_dtype=weight.dtype)
    if pending is not None:
        pending.wait()
    return dx, dweight


def _norm_gradient(dy: Tensor, normed: list[Tensor]) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Of a LayerNorm's input, weight and bias; dy is that of the input where there is no norm."""
    if not normed:
        return dy, None, None
    x, mean, rstd, weight, bias = normed
    tensors = [dy, x, weight, bias]
    if not x.is_cuda:  # where torch wants the moments in the dtype of x
        tensors = [tensor.to(mean.dtype) for tensor in tensors]
    moments, width = (mean[:, None], rstd[:, None]), [x.shape[1]]
    backward = torch.ops.aten.native_layer_norm_backward
    found = backward(*tensors[:2], width, *moments, *tensors[2:], [True, True, True])
    dx, dweight, dbias = (part.to(weight.dtype) for part in found)
    return dx, dweight, dbias


def _check_version(ctx: Any) -> None:
    if ctx.how.weights.version != ctx.version:
        raise AssertionError("the weights have changed between the forward and the backward pass")


def _flat(x: Tensor) -> Tensor:
    """[T, K] of [S, B, K]."""
    return x.reshape(-1, x.shape[-1]).contiguous()


def _unflat(y: Tensor, shape: torch.Size, ranks: int) -> Tensor:
    """[S, B, N] of all tokens, where x has `shape`."""
    return y.view(shape[0] * ranks, *shape[1:-1], y.shape[-1])
