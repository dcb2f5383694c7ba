"""The blocks that are measured, each against what it is meant to be faster than.

A block is what a layer of Galactica-6.7B spends its time on: the feed-forward block forward and
backward, a step of decoding, log-probs of tokens. Owns the shapes, the rivals and the bands in
which both must agree before anything is timed. Weights and activations are Gaussian.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from reft_megatron.ops.decode_attention import append, decode_attention
from reft_megatron.ops.fp8 import quantise_rows
from reft_megatron.ops.logprob import VocabShard, linear_logprob
from reft_megatron.policy.fp8.products import Norm, Spread, feed_forward, linear
from reft_megatron.policy.fp8.weights import Fp8Weights
from tools.kernel_bench.stopwatch import compiled

__all__ = ["Block", "Shapes", "blocks", "distance"]

_EPS = 1e-5
_TWO_PRODUCTS = 1.5 * 5.3e-2
"""Of two FP8 products in a row, relative to bf16 (fp8.md's figure, and half as much again)."""
_ROUNDING = 2e-2
"""Of bf16 gradients that were summed in another order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """How large everything is."""

    tokens: tuple[int, ...]
    """Of micro-batches."""
    scored: int
    """Tokens whose log-probs are wanted."""
    slots: tuple[int, ...]
    """Sequences that decode at once."""
    context: int
    """Positions of each, of which half are filled on average."""
    hidden: int
    """Elements of a token."""
    heads: int
    """Of attention."""
    inner: int
    """Of the feed-forward block."""
    vocabulary: int
    """Tokens of the language."""
    chunk: int
    """Tokens whose logits are held at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Something to be measured."""

    name: str
    """What it is."""
    rival: str
    """What it is measured against."""
    wanted: float
    """How many times as fast it is meant to be."""
    memory: float
    """Of the rival's extra memory, how much it may take; 0: no matter."""
    band: float
    """Relative distance to the rival, of each output."""
    inputs: Callable[[int], tuple[Tensor, ...]]
    """Of a seed."""
    ours: Callable[..., tuple[Tensor, ...]]
    """What is measured."""
    theirs: Callable[..., tuple[Tensor, ...]]
    """The rival, which is also what ours is held to."""


def blocks(shapes: Shapes, device: torch.device) -> Iterator[Block]:
    """All of them, in the order of the table."""
    for tokens in shapes.tokens:
        yield _feed_forward(shapes, tokens, device)
    for slots in shapes.slots:
        yield _decode(shapes, slots, device)
    yield _logprob(shapes, device)


def distance(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> float:
    """The largest relative distance (Frobenius) of their outputs; NaN shows."""
    far = [
        float((ours.double() - its.double()).norm() / its.double().norm())
        for ours, its in zip(found, wanted, strict=True)
    ]
    return max(far, key=lambda x: (math.isnan(x), x))


def _feed_forward(shapes: Shapes, tokens: int, device: torch.device) -> Block:
    """LayerNorm, two products and GELU between them, forward and backward; codes are kept."""
    fixed = _weights(shapes, device)
    codes = Fp8Weights(always=True)

    def inputs(seed: int) -> tuple[Tensor, ...]:
        x, dy = (_gauss(seed + n, tokens, 1, shapes.hidden, device=device) for n in range(2))
        return x, *fixed, dy

    def fp8(x: Tensor, *learned: Tensor) -> Tensor:
        into, bias, out, weight, shift = learned
        norm = Norm(weight=weight, bias=shift, eps=_EPS)
        return feed_forward(x, (into, bias), out, weights=codes, spread=Spread(), norm=norm)

    fast = compiled(_plain) if device.type == "cuda" else _plain
    return Block(
        name=f"feed-forward, {tokens:,} tokens, forward and backward",
        rival="compiled bf16",
        wanted=1.5 if tokens >= 8192 else 1.35,
        memory=0,
        band=_TWO_PRODUCTS,
        inputs=inputs,
        ours=partial(_trained, fp8),
        theirs=partial(_trained, fast),
    )


def _plain(x: Tensor, *learned: Tensor) -> Tensor:
    into, bias, out, weight, shift = learned
    normed = functional.layer_norm(x, x.shape[-1:], weight, shift, _EPS)
    return functional.linear(functional.gelu(functional.linear(normed, into, bias)), out)


def _trained(forward: Callable[..., Tensor], *tensors: Tensor) -> tuple[Tensor, ...]:
    """Output and gradients; the last tensor is the output's gradient."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors[:-1]]
    out = forward(*leaves)
    return out.detach(), *torch.autograd.grad(out, leaves, tensors[-1])


def _decode(shapes: Shapes, slots: int, device: torch.device) -> Block:
    """A layer's step for one new token a sequence: FP8 weights and cache, or all of it in bf16."""
    fixed = _weights(shapes, device)
    size = shapes.hidden // shapes.heads
    draw = partial(_gauss, device=device)
    qkv, proj = (
        draw(90 + n, n * shapes.hidden, shapes.hidden) / shapes.hidden**0.5 for n in (3, 1)
    )
    positions = torch.arange(slots, device=device) % shapes.context
    shape = (slots, shapes.heads, shapes.context, size)
    plain = tuple(draw(95 + n, *shape) for n in range(2))
    narrow, scales = zip(*(quantise_rows(part.view(-1, size)) for part in plain), strict=True)
    cache = tuple(part.view(shape) for part in narrow)
    where = tuple(part.view(shape[:3]) for part in scales)
    codes = Fp8Weights(always=True)

    def step(x: Tensor, *, fp8: bool) -> tuple[Tensor, ...]:
        into, bias, out, weight, shift = fixed
        learned = Norm(weight=weight, bias=shift, eps=_EPS)
        how: dict[str, Any] = {"weights": codes, "spread": Spread()}
        if fp8:
            made = linear(x, qkv, norm=learned, **how)
        else:
            made = functional.linear(
                functional.layer_norm(x, x.shape[-1:], weight, shift, _EPS), qkv
            )
        query, key, value = made.view(slots, 3, shapes.heads, size).unbind(1)
        held, given = (cache, where) if fp8 else (plain, None)
        append(*held, key=key, value=value, positions=positions, scales=given)
        seen = decode_attention(query, *held, lengths=positions + 1, scales=given)
        seen = seen.reshape(slots, 1, shapes.hidden)
        if not fp8:
            x = x + functional.linear(seen, proj)
            return (x + _plain(x, *fixed),)
        x = x + linear(seen, proj, **how)
        return (x + feed_forward(x, (into, bias), out, norm=learned, **how),)

    return Block(
        name=f"decoding a layer, {slots} sequences of {shapes.context} positions",
        rival="ours in bf16",
        wanted=1.5,
        memory=0,
        band=_TWO_PRODUCTS,
        inputs=lambda seed: (draw(seed, slots, 1, shapes.hidden),),
        ours=partial(step, fp8=True),
        theirs=partial(step, fp8=False),
    )


def _logprob(shapes: Shapes, device: torch.device) -> Block:
    """Log-probs of targets, forward and backward, without logits of all tokens at once."""
    tokens = shapes.scored
    shard = VocabShard(start=0, real=shapes.vocabulary, group=None)
    weight = _gauss(80, shapes.vocabulary, shapes.hidden, device=device) / shapes.hidden**0.5

    def inputs(seed: int) -> tuple[Tensor, ...]:
        hidden = _gauss(seed, tokens, shapes.hidden, device=device)
        targets = torch.arange(tokens, device=device) % shapes.vocabulary
        return hidden, weight, targets

    def ours(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        chunked = partial(linear_logprob, targets=targets, shard=shard, chunk=shapes.chunk)
        return _learnt(chunked, hidden, weight)

    def eager(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        return _learnt(partial(_whole_logprob, targets=targets), hidden, weight)

    return Block(
        name=f"log-probs of {tokens:,} tokens, forward and backward",
        rival="eager, with all logits",
        wanted=1.0,
        memory=1 / 8,
        band=_ROUNDING,
        inputs=inputs,
        ours=ours,
        theirs=eager,
    )


def _whole_logprob(hidden: Tensor, weight: Tensor, *, targets: Tensor) -> tuple[Tensor, Tensor]:
    logprobs = functional.linear(hidden, weight).float().log_softmax(-1)
    return logprobs.gather(1, targets[:, None])[:, 0], -(logprobs.exp() * logprobs).sum(-1)


def _learnt(logprob: Callable[..., tuple[Tensor, Tensor]], *tensors: Tensor) -> tuple[Tensor, ...]:
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    out, _ = logprob(*leaves)
    return out.detach(), *torch.autograd.grad(out.sum(), leaves)


def _weights(shapes: Shapes, device: torch.device) -> tuple[Tensor, ...]:
    """W1, b1, W2, and weight and bias of the LayerNorm."""
    draw = partial(_gauss, device=device)
    return (
        draw(70, shapes.inner, shapes.hidden) / shapes.hidden**0.5,
        draw(71, shapes.inner),
        draw(72, shapes.hidden, shapes.inner) / shapes.inner**0.5,
        1 + 0.2 * draw(73, shapes.hidden),
        draw(74, shapes.hidden),
    )


def _gauss(seed: int, *shape: int, device: torch.device) -> Tensor:
    made = torch.Generator(device).manual_seed(seed)
    return torch.randn(*shape, generator=made, device=device).bfloat16()
