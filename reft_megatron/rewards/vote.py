"""Majority vote over the extracted answers of one problem.

Owns the counting; the answers come from verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence

from reft_megatron.rewards.compare import same

__all__ = ["majority"]


def majority(values: Sequence[float | str | None]) -> int | None:
    """Index of the first value of the largest bucket, or None if no value is a vote.

    A value joins the first bucket whose first value equals it (numbers within 1e-2; the reference
    counts raw floats, sampling.py:184-199). None never votes. Among buckets of equal size the one
    seen first wins.
    """
    votes: dict[int, int] = {}
    for index, value in enumerate(values):
        if value is None:
            continue
        bucket = next((first for first in votes if _agree(values[first], value)), index)
        votes[bucket] = votes.get(bucket, 0) + 1
    return max(votes, key=votes.__getitem__, default=None)


def _agree(first: float | str | None, value: float | str) -> bool:
    return first is not None and same(first, value)
