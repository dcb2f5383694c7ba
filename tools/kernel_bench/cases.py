"""The operators that are measured: inputs, rivals, and what must come out.

A case is an operator at the shapes of one layer of Galactica-6.7B. Owns the shapes, the bytes that
an operator cannot do without, and the comparison with the reference, before which nothing is timed.
Real activations are not at hand: they are Gaussian, with six columns sixty times as large.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from reft_megatron.ops import drawing, fp8, fp8_kernels, gae, kernels, ppo_loss, softmax
from reft_megatron.ops.reference import drawing as drawing_reference
from reft_megatron.ops.reference import fp8 as fp8_reference
from reft_megatron.ops.reference import gae as gae_reference
from reft_megatron.ops.reference import ppo_loss as ppo_reference
from reft_megatron.ops.reference import softmax as softmax_reference

__all__ = ["Case", "Shapes", "cases", "trouble"]

_OUTLIERS, _OUTLIER = 6, 60.0
_EXACT, _ULPS = 0.0, 1e-3
"""Codes that may be another than the reference's, by one step, as a share of all."""
_BAND = 1e-4
"""Of everything that is no code, relative to its largest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """How large everything is."""

    tokens: int
    """Of a micro-batch."""
    hidden: int
    """Elements of a token."""
    inner: int
    """Of the feed-forward block."""
    vocabulary: int
    """Tokens of the language."""
    chunk: int
    """Tokens whose logits are held at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One operator."""

    name: str
    """Of `reft::...`."""
    nbytes: int
    """What must be read and written, each once but for a gradient, whose scales want two looks."""
    inputs: Callable[[int], tuple[Tensor, ...]]
    """Of a seed."""
    ours: Callable[..., Any]
    """What is measured."""
    reference: Callable[..., Any]
    """What it is held to, and its rival: eager torch, and compiled."""
    steps: float
    """Share of the codes that may be one step off."""


def cases(shapes: Shapes, device: torch.device) -> Iterator[Case]:
    """All of them; on a CPU it is the twin of the kernels that is called."""
    tokens, hidden, inner = shapes.tokens, shapes.hidden, shapes.inner
    narrow, wide = tokens * hidden, tokens * inner
    draw = partial(_matrix, device=device)
    yield _fp8("quantise_rows", 3 * narrow, lambda s: (draw(s, tokens, hidden),), device=device)
    yield _fp8(
        "quantise_columns",
        3 * inner * hidden,
        lambda s: (draw(s, inner, hidden),),
        device=device,
        fold=None,
    )
    yield _fp8(
        "quantise_gradient",
        6 * narrow,
        lambda s: (draw(s, tokens, hidden),),
        device=device,
        fold=None,
    )
    yield _fp8(
        "layer_norm_quantise",
        3 * narrow,
        lambda s: (draw(s, tokens, hidden), draw(s + 1, 1, hidden)[0], draw(s + 2, 1, hidden)[0]),
        device=device,
        eps=1e-5,
    )
    yield _fp8(
        "bias_gelu_quantise",
        3 * wide,
        lambda s: (draw(s, tokens, inner), draw(s + 1, 1, inner)[0]),
        device=device,
    )
    yield _fp8(
        "dgelu_quantise",
        6 * wide,
        lambda s: (draw(s, tokens, inner), draw(s + 1, tokens, inner), draw(s + 2, 1, inner)[0]),
        device=device,
        fold=None,
    )
    yield _transposing(wide, lambda s: (_codes(draw(s, tokens, inner)),), device)
    yield from _over_the_vocabulary(shapes, device)
    yield from _of_ppo(shapes, device)


def trouble(found: Any, wanted: Any, *, steps: float) -> str:
    """How a result differs from the reference beyond its band; empty if it does not."""
    for number, (ours, its) in enumerate(zip(_parts(found), _parts(wanted), strict=True)):
        if ours.dtype == torch.float8_e4m3fn:
            apart = (_places(ours) - _places(its)).abs()
            share = float((apart > 0).float().mean())
            if int(apart.max()) > 1 or share > steps:
                return f"output {number}: {share:.2%} of the codes differ, by up to {apart.max()}"
        else:
            off = (ours.double() - its.double()).abs().max() / its.double().abs().max()
            if not off <= _BAND:
                return f"output {number}: off by {float(off):.1e}"
    return ""


def _fp8(
    name: str,
    nbytes: int,
    inputs: Callable[[int], tuple[Tensor, ...]],
    *,
    device: torch.device,
    **how: Any,
) -> Case:
    ours = getattr(fp8, name)
    if device.type == "cpu":
        ours = partial(getattr(fp8_kernels, name), library=kernels.host(), faults=None)
    return Case(
        name=name,
        nbytes=nbytes,
        inputs=inputs,
        ours=partial(ours, **how),
        reference=partial(getattr(fp8_reference, name), faults=None, **how),
        steps=_EXACT if name.startswith("quantise") else _ULPS,
    )


def _transposing(
    size: int, inputs: Callable[[int], tuple[Tensor, ...]], device: torch.device
) -> Case:
    twin = partial(fp8_kernels.transpose_codes, library=kernels.host())
    return Case(
        name="transpose_codes",
        nbytes=2 * size,
        inputs=inputs,
        ours=twin if device.type == "cpu" else fp8.transpose_codes,
        reference=fp8_reference.transpose_codes,
        steps=_EXACT,
    )


def _over_the_vocabulary(shapes: Shapes, device: torch.device) -> Iterator[Case]:
    rows, vocabulary = shapes.chunk, shapes.vocabulary
    on_cpu = device.type == "cpu"
    twin: dict[str, Any] = {"library": kernels.host()} if on_cpu else {}

    def logits(seed: int) -> tuple[Tensor, Tensor]:
        made = torch.Generator(device).manual_seed(seed)
        drawn = 3 * torch.randn(rows, vocabulary, generator=made, device=device)
        return drawn, torch.randint(vocabulary, (rows,), generator=made, device=device)

    def keyed(seed: int) -> tuple[Tensor, Tensor, Tensor]:
        drawn, targets = logits(seed)
        return drawn, targets[:, None].repeat(1, 2), targets

    def graded(seed: int) -> tuple[Tensor, ...]:
        drawn, targets = logits(seed)
        return drawn, targets, drawn.logsumexp(-1), torch.ones_like(drawn[:, 0])

    def gradient(by: Callable[..., Tensor], *x: Tensor, **how: Any) -> Tensor:
        dtype = torch.bfloat16
        return by(x[0], x[1], log_sum=x[2], gradient=x[3], start=0, dtype=dtype, **how)

    yield Case(
        name="softmax",
        nbytes=4 * rows * vocabulary,
        inputs=logits,
        ours=partial(softmax._by_kernel if on_cpu else softmax.softmax, start=0, **twin),
        reference=partial(softmax_reference.softmax, start=0),
        steps=_EXACT,
    )
    yield Case(
        name="softmax_gradient",
        nbytes=6 * rows * vocabulary,
        inputs=graded,
        ours=partial(
            gradient, softmax._gradient_by_kernel if on_cpu else softmax.softmax_gradient, **twin
        ),
        reference=partial(gradient, softmax_reference.softmax_gradient),
        steps=_EXACT,
    )
    how: dict[str, Any] = {"start": 0, "temperature": 1.0, "greedy": False}
    yield Case(
        name="draw",
        nbytes=4 * rows * vocabulary,
        inputs=keyed,
        ours=partial(drawing._by_kernel if on_cpu else drawing.draw, **how, **twin),
        reference=partial(drawing_reference.draw, **how),
        steps=_EXACT,
    )


def _of_ppo(shapes: Shapes, device: torch.device) -> Iterator[Case]:
    """A micro-batch of sequences of 512 tokens, or of shorter ones, eight at least."""
    columns = min(shapes.tokens // 8, 512)
    size = (shapes.tokens // columns, columns)
    on_cpu = device.type == "cpu"
    twin: dict[str, Any] = {"library": kernels.host()} if on_cpu else {}
    limits = {"clip_range": 0.2, "value_coef": 5.0}

    def drawn(seed: int) -> tuple[Tensor, ...]:
        made = torch.Generator(device).manual_seed(seed)
        x = torch.randn(6, *size, generator=made, device=device)
        weights = torch.full(size, 1 / shapes.tokens, device=device)
        near = [0.8 * x[n] + 0.2 * x[n + 2] for n in range(2)]
        return x[0], x[1], x[2] > 0, weights, *near, x[4], x[5]

    def losses(by: Callable[..., Any], *x: Tensor, **how: Any) -> Any:
        names = ("weights", "old_logprobs", "old_values", "advantages", "returns")
        fields = dict(zip(names, x[3:], strict=True))
        return by(x[0], x[1], mask=x[2], importance=None, **fields, **limits, **how)

    yield Case(
        name="gae",
        nbytes=17 * shapes.tokens,
        inputs=lambda seed: drawn(seed)[:3],
        ours=partial(gae._by_kernel if on_cpu else gae.gae, gamma=1.0, lam=0.95, **twin),
        reference=partial(gae_reference.gae, gamma=1.0, lam=0.95),
        steps=_EXACT,
    )
    operator = ppo_loss._by_kernel if on_cpu else torch.ops.reft.ppo_loss
    yield Case(
        name="ppo_loss",
        nbytes=37 * shapes.tokens,
        inputs=drawn,
        ours=partial(losses, operator, **twin),
        reference=partial(losses, ppo_reference.ppo_loss),
        steps=_EXACT,
    )


def _matrix(seed: int, rows: int, columns: int, *, device: torch.device) -> Tensor:
    made = torch.Generator(device).manual_seed(seed)
    x = torch.randn(rows, columns, generator=made, device=device)
    x[:, torch.randperm(columns, generator=made, device=device)[:_OUTLIERS]] *= _OUTLIER
    return x.bfloat16()


def _codes(x: Tensor) -> Tensor:
    return fp8.quantise_rows(x).codes


def _parts(result: Any) -> Iterator[Tensor]:
    """All tensors of nested tuples, in their order."""
    if isinstance(result, Tensor):
        yield result
        return
    for part in result:
        yield from _parts(part)


def _places(codes: Tensor) -> Tensor:
    """Codes in the order of what they stand for; NaN far from all else."""
    plain = codes.view(torch.uint8).int()
    size = plain & 0x7F
    size = torch.where(size == 0x7F, 1000, size)
    return torch.where(plain >= 0x80, -size, size)
