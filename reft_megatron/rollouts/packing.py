"""Pack first, distribute second: from lengths to every rank's micro-batches.

Owns one pure function, so that every rank computes the same plan from the same lengths and nothing
is negotiated. Knows neither tensors nor ranks' contents.

The idea: choose how many micro-batches each data rank gets, spread the sequences longest first,
always into the emptiest micro-batch of all, then deal the micro-batches to the ranks, heaviest
first, always to the rank with the fewest tokens. All micro-batches come out nearly equal, and so
do the ranks. If one overflows its budget, start again with 2 % more micro-batches.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

from reft_megatron.errors import ConfigError

__all__ = ["Plan", "pack"]

Bins = list[list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which sequences each data rank trains on, in which micro-batch."""

    data: tuple[tuple[tuple[int, ...], ...], ...]
    """`data[d]` is the micro-batches of data rank `d`, heaviest first (out of memory shows at
    once), each a tuple of ascending indices of sequences; it is empty where there are too few."""

    @property
    def num_micro_batches(self) -> int:
        """Micro-batches of a data rank, the same for all."""
        return len(self.data[0])

    def kept(self, data_rank: int) -> tuple[int, ...]:
        """Indices of all sequences of one data rank, ascending."""
        return tuple(sorted(i for batch in self.data[data_rank] for i in batch))


def pack(lengths: Sequence[int], *, data_size: int, max_tokens: int, multiple_of: int = 1) -> Plan:
    """Assign every sequence to one micro-batch of at most `max_tokens` tokens.

    `lengths` in tokens. All data ranks get the same number of micro-batches, a multiple of
    `multiple_of` (interleaved pipelines need one of the pipeline size), as few as the greedy rule
    finds. Deterministic. Raises ConfigError if a single sequence is longer than `max_tokens`.
    """
    longest = max(range(len(lengths)), key=lengths.__getitem__, default=None)
    if longest is not None and lengths[longest] > max_tokens:
        raise ConfigError(
            f"sequence {longest} has {lengths[longest]} tokens and a micro-batch holds "
            f"{max_tokens}; raise optimizer.micro_batch_tokens to {lengths[longest]} or more, or "
            "lower generate.max_new_tokens."
        )
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    count = _ceil(_fewest(lengths, max_tokens) / data_size, multiple_of)
    while (bins := _spread(order, lengths, data_size * count, max_tokens=max_tokens)) is None:
        count = _ceil(count + max(1, count // 50), multiple_of)
    return Plan(data=_deal(bins, lengths, data_size))


def _fewest(lengths: Sequence[int], max_tokens: int) -> int:
    """No packing has fewer micro-batches.

    They must hold all tokens; and of the sequences longer than `max_tokens / (k + 1)` at most `k`
    fit together.
    """
    by_size = [math.ceil(sum((k + 1) * n > max_tokens for n in lengths) / k) for k in (1, 2, 3)]
    return max(1, math.ceil(sum(lengths) / max_tokens), *by_size)


def _ceil(count: float, multiple_of: int) -> int:
    return math.ceil(count / multiple_of) * multiple_of


def _spread(
    order: Sequence[int], lengths: Sequence[int], count: int, *, max_tokens: int
) -> Bins | None:
    """The sequences in `count` bins, each put where the fewest tokens are; None on overflow."""
    bins: Bins = [[] for _ in range(count)]
    heap = [(0, b) for b in range(count)]
    for i in order:
        tokens, b = heap[0]
        if tokens + lengths[i] > max_tokens:
            return None
        bins[b].append(i)
        heapq.heapreplace(heap, (tokens + lengths[i], b))
    return bins


def _deal(
    bins: Bins, lengths: Sequence[int], data_size: int
) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """The bins dealt in rounds, one to each rank, the heaviest to the rank with fewest tokens."""
    tokens = {b: sum(lengths[i] for i in content) for b, content in enumerate(bins)}
    heaviest_first = sorted(tokens, key=lambda b: (-tokens[b], b))
    held = [0] * data_size
    data: list[list[tuple[int, ...]]] = [[] for _ in range(data_size)]
    for start in range(0, len(bins), data_size):
        ranks = sorted(range(data_size), key=lambda d: (held[d], d))
        for d, b in zip(ranks, heaviest_first[start : start + data_size], strict=True):
            held[d] += tokens[b]
            data[d].append(tuple(sorted(bins[b])))
    return tuple(tuple(batches) for batches in data)
