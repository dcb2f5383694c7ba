"""A micro-batch: sequences laid out as one tensor, and the way back.

Owns the two layouts and their inverse. Packed: sequences end to end in one row, padded at the end.
Padded: one sequence a row, padded on the right. A micro-batch of no sequences is one row of
padding. Knows nothing of what the fields mean.

Legend: R rows, L columns. Entry `t` of a field is about token `t` of its sequence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from reft_megatron.rollouts.packing import Plan
from reft_megatron.rollouts.schema import field

__all__ = ["MicroBatch", "common_shape", "lay_out", "pick"]

Spans = list[tuple[int, slice]]
"""Row and columns of each sequence, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """What one forward pass works on."""

    tokens: Tensor | None
    """[R, L] int64, the pad id on padding; None on middle pipeline stages."""
    positions: Tensor
    """[R, L] int64, position inside its own sequence; 0 on padding."""
    lengths: tuple[int, ...]
    """Tokens of each sequence, in order."""
    indices: tuple[int, ...]
    """Which sequences of the list it was laid out from."""
    packed: bool
    """True if the sequences stand end to end in one row, False if each has a row."""
    fields: Mapping[str, Tensor]
    """Each [R, L], 0 or False on padding; empty except on the last pipeline stage."""


def lay_out(
    indices: Sequence[int],
    lengths: Sequence[int],
    *,
    tokens: Sequence[ArrayLike] | None,
    fields: Mapping[str, Sequence[ArrayLike]],
    pad_id: int,
    packed: bool,
    length_multiple: int = 1,
    shape: tuple[int, int] | None = None,
    device: torch.device | str = "cpu",
) -> MicroBatch:
    """Lay the sequences `indices` of a list out as one micro-batch.

    `lengths`, `tokens` and every field are parallel lists over all sequences; each entry of
    `tokens` and of a field is 1-D, one number per token. dtypes are those of `schema.FIELDS`.
    `shape` (R, L) forces a common shape, as pipelines need; without it the shape is the smallest,
    with L rounded up to `length_multiple` (sequence parallelism).
    """
    own = tuple(lengths[i] for i in indices)
    shape = shape or _smallest_shape([own], packed, length_multiple)
    spans = _spans(own, packed)

    def fill(rows: Iterable[ArrayLike], dtype: type[np.generic], padding: int) -> Tensor:
        return _fill(rows, spans, np.full(shape, padding, dtype)).to(device)

    def chosen(rows: Sequence[ArrayLike]) -> list[ArrayLike]:
        return [rows[i] for i in indices]

    return MicroBatch(
        tokens=None if tokens is None else fill(chosen(tokens), np.int64, pad_id),
        positions=fill(map(np.arange, own), np.int64, 0),
        lengths=own,
        indices=tuple(indices),
        packed=packed,
        fields={name: fill(chosen(x), field(name).dtype, 0) for name, x in fields.items()},
    )


def common_shape(
    plan: Plan, lengths: Sequence[int], *, packed: bool, length_multiple: int = 1
) -> tuple[int, int]:
    """The smallest (R, L) that holds every micro-batch of the plan, on any data rank."""
    groups = [[lengths[i] for i in batch] for batches in plan.data for batch in batches]
    return _smallest_shape(groups, packed, length_multiple)


def pick(batch: MicroBatch, x: Tensor) -> list[Tensor]:
    """The part of `x` [R, L] of each sequence, 1-D, in order: the inverse of `lay_out`."""
    return [x[row, columns] for row, columns in _spans(batch.lengths, batch.packed)]


def _spans(lengths: Sequence[int], packed: bool) -> Spans:
    if not packed:
        return [(row, slice(0, n)) for row, n in enumerate(lengths)]
    ends = np.cumsum(lengths, dtype=np.int64).tolist()
    return [(0, slice(end - n, end)) for n, end in zip(lengths, ends, strict=True)]


def _smallest_shape(
    groups: Iterable[Sequence[int]], packed: bool, length_multiple: int
) -> tuple[int, int]:
    rows = columns = 1
    for lengths in groups:
        rows = max(rows, 1 if packed else len(lengths))
        columns = max(columns, sum(lengths) if packed else max(lengths, default=0))
    return rows, -(-columns // length_multiple) * length_multiple


def _fill(rows: Iterable[ArrayLike], spans: Spans, out: NDArray[Any]) -> Tensor:
    for (row, columns), numbers in zip(spans, rows, strict=True):
        out[row, columns] = numbers
    return torch.from_numpy(out)
