"""The parameters of every rank, counted without building them.

Owns the parameters of each model chunk and how Megatron lays them into buffers: the one place where
the planner repeats what `policy.model` builds. A test holds it to the real thing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from reft_megatron.config import ParallelConfig
from reft_megatron.policy.model import CLASSES
from reft_megatron.policy.plan.case import Case

__all__ = ["Buffer", "Parameter", "buffers", "code_bytes", "count_parameters", "stage_chunks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of one rank."""

    size: int
    """Numbers in it."""
    head: bool = False
    """Of the head beside the language model, which is fp32 whatever the trunk is."""
    shared: bool = False
    """The tied vocabulary, which first and last stage hold: it gets a bucket of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """The parameters of one dtype of a model chunk, end to end."""

    size: int
    """Numbers in it, with Megatron's padding."""
    itemsize: int
    """Bytes of a parameter; a gradient always has 4."""


def count_parameters(case: Case) -> int:
    """Weights of the whole model, head and padded vocabulary included."""
    whole = case.changed(parallel=ParallelConfig())
    return sum(p.size for chunk in stage_chunks(whole, 0) for p in chunk)


def stage_chunks(case: Case, stage: int) -> list[list[Parameter]]:
    """The parameters of each model chunk of pipeline stage `stage`, on one tensor rank."""
    layers = case.chunk_layers(stage)
    last_stage, last_chunk = stage == case.parallel.pipeline - 1, len(layers) - 1
    return [
        list(_chunk(case, count, first=stage + c == 0, last=last_stage and c == last_chunk))
        for c, count in enumerate(layers)
    ]


def buffers(case: Case, chunk: Sequence[Parameter], *, padded: bool) -> list[Buffer]:
    """The buffers of one chunk's parameters.

    `padded` is what the distributed optimizer asks for: a parameter begins at a multiple of 64
    numbers, a bucket ends at one of 128 and of the data-parallel size. Without overlap a buffer is
    one bucket, but for the tied vocabulary.
    """
    groups = {4: list(chunk)}
    if case.itemsize != 4:
        groups = {case.itemsize: [p for p in chunk if not p.head], 4: [p for p in chunk if p.head]}
    end = math.lcm(case.data, 128)
    found = []
    for itemsize, parameters in groups.items():
        size = sum(p.size for p in parameters)
        if padded:
            size = sum(
                _up(sum(_up(p.size, 64) for p in bucket), end) for bucket in _buckets(parameters)
            )
        if size:
            found.append(Buffer(size=size, itemsize=itemsize))
    return found


def code_bytes(case: Case, stage: int, *, transposed: bool) -> int:
    """FP8 codes and scales of the weights of a stage's layers, or of their transposes.

    0 where nothing is FP8.
    """
    if not case.config.model.samples_in_fp8:
        return 0
    kept, layers = case.config.fp8, case.architecture.layers
    fp8 = range(kept.first_layers_bf16, layers - kept.last_layers_bf16)
    ends = list(accumulate(case.split))
    mine = range(stage, len(ends), case.parallel.pipeline)
    held = [layer for c in mine for layer in range(ends[c] - case.split[c], ends[c])]
    size = sum(
        inputs * outputs + 4 * (inputs if transposed else outputs)
        for inputs, outputs in _products(case)
    )
    return size * sum(layer in fp8 for layer in held)


def _products(case: Case) -> list[tuple[int, int]]:
    """(input, output channels) of the products of a layer, on one tensor rank."""
    hidden, (query, key, inner) = case.architecture.hidden, case.widths
    fc1 = inner * (2 if case.architecture.gated else 1)
    return [(hidden, query + 2 * key), (query, hidden), (hidden, fc1), (inner, hidden)]


def _chunk(case: Case, layers: int, *, first: bool, last: bool) -> Iterator[Parameter]:
    """In the order of the module."""
    shape = case.architecture
    hidden = shape.hidden
    vocabulary = case.vocab_rows * hidden
    split = shape.tied and case.parallel.pipeline > 1
    if first:
        yield Parameter(size=vocabulary, shared=split)
        if shape.attention.rope is None:
            yield Parameter(size=(shape.positions + shape.position_offset) * hidden)
    yield from layers * list(_layer(case))
    if last:
        yield from _norm(case)
        if split or not shape.tied:
            yield Parameter(size=vocabulary, shared=split)
        if case.config.model.head == "value":
            yield Parameter(size=hidden, head=True)
            yield Parameter(size=1, head=True)
        else:
            yield Parameter(size=CLASSES * hidden, head=True)


def _layer(case: Case) -> Iterator[Parameter]:
    shape, attention = case.architecture, case.architecture.attention
    qkv, proj, fc1, fc2 = _products(case)
    yield from _norm(case)
    yield from _linear(*qkv, bias=attention.qkv_bias)
    if attention.qk_norm:
        yield Parameter(size=attention.size)
        yield Parameter(size=attention.size)
    yield from _linear(*proj, bias=shape.bias)
    yield from _norm(case)
    yield from _linear(*fc1, bias=shape.bias)
    yield from _linear(*fc2, bias=shape.bias)


def _linear(inputs: int, outputs: int, *, bias: bool) -> Iterator[Parameter]:
    yield Parameter(size=inputs * outputs)
    if bias:
        yield Parameter(size=outputs)


def _norm(case: Case) -> Iterator[Parameter]:
    norm, hidden = case.architecture.norm, case.architecture.hidden
    if norm.affine or norm.kind == "rms":
        yield Parameter(size=hidden)
    if norm.affine and norm.kind == "layer":
        yield Parameter(size=hidden)


def _buckets(parameters: Sequence[Parameter]) -> list[list[Parameter]]:
    found: list[list[Parameter]] = [[]]
    for parameter in parameters:
        if parameter.shared:
            found += [[parameter], []]
        else:
            found[-1].append(parameter)
    return found


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
