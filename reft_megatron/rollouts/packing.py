"""Pack first, distribute second: from lengths to every rank's micro-batches.

Owns one pure function, so that every rank computes the same plan from the same lengths and nothing
is negotiated. Knows neither tensors nor ranks' contents.

The idea: choose how many micro-batches each data rank gets, spread the sequences longest first,
always into the emptiest micro-batch of all, then deal the micro-batches to the ranks, heaviest
first, always to the rank with the fewest tokens. All micro-batches come out nearly equal, and so
do the ranks. Where that overflows a budget, the fullest micro-batch that still has room is tried
instead of the emptiest: it wastes less, and micro-batches differ. If the ranks then differ too, or
that overflows as well, start again with 1 % more micro-batches.

Micro-batches of one fill and sequences of one length are treated alike, many at a time, so the work
grows with the number of lengths and hardly with the number of sequences.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reft_megatron.errors import ConfigError

__all__ = ["Plan", "pack"]

Ints = NDArray[np.int64]

_UNEVEN = 0.01
"""Share of its tokens by which ranks may differ when micro-batches are not equal."""


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


def pack(
    lengths: Sequence[int] | NDArray[np.integer],
    *,
    data_size: int,
    max_tokens: int,
    multiple_of: int = 1,
) -> Plan:
    """Assign every sequence to one micro-batch of at most `max_tokens` tokens.

    `lengths` in tokens. All data ranks get the same number of micro-batches, a multiple of
    `multiple_of` (interleaved pipelines need one of the pipeline size), as few as the greedy rule
    finds. Deterministic. Raises ConfigError if a single sequence is longer than `max_tokens`.
    """
    tokens = np.asarray(lengths, np.int64)
    if tokens.size and tokens.max() > max_tokens:
        longest = int(tokens.argmax())
        raise ConfigError(
            f"sequence {longest} has {tokens[longest]} tokens and a micro-batch holds "
            f"{max_tokens}; raise optimizer.micro_batch_tokens to {tokens[longest]} or more, or "
            "lower generate.max_new_tokens."
        )
    count = _ceil(_fewest(tokens, max_tokens) / data_size, multiple_of)
    while True:
        for fullest in (False, True):
            bins = _spread(tokens, data_size * count, max_tokens=max_tokens, fullest=fullest)
            if bins is None:
                continue
            loads = np.bincount(bins, tokens, data_size * count).astype(np.int64)
            ranks, held = _deal(loads, data_size)
            if not fullest or np.ptp(held) <= _UNEVEN * held.mean():
                return Plan(data=_contents(bins, ranks))
        count = _ceil(count + max(1, count // 100), multiple_of)


def _fewest(tokens: Ints, max_tokens: int) -> int:
    """No packing has fewer micro-batches.

    They must hold all tokens; and of the sequences longer than `max_tokens / (k + 1)` at most `k`
    fit together.
    """
    longer = [int(((k + 1) * tokens > max_tokens).sum()) for k in (1, 2, 3)]
    by_size = [math.ceil(n / k) for k, n in enumerate(longer, 1)]
    return max(1, math.ceil(int(tokens.sum()) / max_tokens), *by_size)


def _ceil(count: float, multiple_of: int) -> int:
    return math.ceil(count / multiple_of) * multiple_of


def _spread(tokens: Ints, count: int, *, max_tokens: int, fullest: bool) -> Ints | None:
    """The bin of each sequence, of `count` bins: longest first, each into the emptiest bin.

    Or into the `fullest` that has room. None if a bin overflows.
    """
    chosen = np.zeros(len(tokens), np.int64)
    loads, bins = [0], {0: np.arange(count)}
    order = np.argsort(-tokens, kind="stable")
    for alike in np.split(order, np.flatnonzero(np.diff(tokens[order])) + 1):
        waiting, length = alike, int(tokens[alike[:1]].sum())
        while len(waiting):
            at = bisect_right(loads, max_tokens - length) - 1 if fullest else 0
            load = loads[at]
            if at < 0 or load + length > max_tokens:
                return None
            taken, rest = np.split(bins[load], [len(waiting)])
            chosen[waiting[: len(taken)]] = taken
            waiting = waiting[len(taken) :]
            if len(rest):
                bins[load] = rest
            else:
                del bins[load], loads[at]
            if load + length in bins:
                bins[load + length] = np.concatenate([bins[load + length], taken])
            else:
                insort(loads, load + length)
                bins[load + length] = taken
    return chosen


def _deal(loads: Ints, data_size: int) -> tuple[list[Ints], Ints]:
    """The bins of each rank, and its tokens.

    Dealt in rounds, one to each rank, heaviest first, the heaviest to the rank with fewest tokens.
    """
    rounds = np.argsort(-loads, kind="stable").reshape(-1, data_size)
    held = np.zeros(data_size, np.int64)
    dealt = np.empty_like(rounds)
    for number, bins in enumerate(rounds):
        ranks = np.argsort(held, kind="stable")
        dealt[number, ranks] = bins
        held[ranks] += loads[bins]
    return list(dealt.T), held


def _contents(bins: Ints, ranks: list[Ints]) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """The sequences of each bin of each rank, ascending."""
    order = np.argsort(bins, kind="stable").tolist()
    ends = np.bincount(bins, minlength=sum(map(len, ranks))).cumsum().tolist()
    starts = [0, *ends]
    return tuple(tuple(tuple(order[starts[b] : ends[b]]) for b in mine.tolist()) for mine in ranks)
