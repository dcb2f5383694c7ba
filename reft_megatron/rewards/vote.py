"""The choice of one answer among those extracted from a problem's completions.

Owns counting and ties; the answers come from verdicts, the scores from a reranker. For `@k` hand in
the first k. None is no vote, and neither is text but a letter, which `task.parity=reference` lets
pass for an answer (sampling.py:184-199).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

import numpy as np

from reft_megatron.rewards.compare import same

__all__ = ["majority", "reranked", "weighted_majority"]


def majority(values: Sequence[float | str | None], *, exact: bool = False) -> int | None:
    """Index of the first value of the largest bucket, or None if no value is a vote.

    A value joins the first bucket whose first value equals it: numbers within 1e-2, or if `exact`
    only the same float, as the reference counts (sampling.py:184-199). Among buckets of equal size
    the one seen first wins.
    """
    buckets = _buckets(values, exact=exact)
    return max(buckets, key=lambda first: len(buckets[first]), default=None)


def weighted_majority(
    values: Sequence[float | str | None], probabilities: Sequence[float]
) -> int | None:
    """`majority` with `probabilities` in the place of single votes: a reranker's P(right) of each.

    Sums are rounded once, so the order within a bucket does not matter.
    """
    weights = [float(probability) for probability in probabilities]
    assert len(weights) == len(values)
    sums = {
        first: math.fsum(weights[index] for index in members)
        for first, members in _buckets(values).items()
    }
    return max(sums, key=sums.__getitem__, default=None)


def reranked(values: Sequence[float | str | None], scores: Sequence[float]) -> int | None:
    """Index of the best-scored answer, or None if there is none: a number, or one letter.

    (The reference's vote takes any one character, its reranker wants it alphabetic: sampling.py:
    184-199, train_reward_model.py:226-315.)

    Scores are compared in float32, where a reranker makes them (the reference rounds to bf16 and so
    ties often, train_reward_model.py:247-249); among equal ones the first seen wins.
    """
    exact = np.asarray(scores, np.float32)
    assert len(exact) == len(values)
    candidates = [index for index, value in enumerate(values) if _is_candidate(value)]
    return max(candidates, key=exact.__getitem__, default=None)


def _buckets(values: Sequence[float | str | None], *, exact: bool = False) -> dict[int, list[int]]:
    """Indices of the votes of each bucket, by its first one, in the order seen."""
    alike = operator.eq if exact else same
    firsts: list[tuple[int, float | str]] = []
    votes: dict[int, list[int]] = {}
    for index, value in enumerate(values):
        if value is None or not _is_vote(value):
            continue
        bucket = next((i for i, first in firsts if alike(first, value)), None)
        if bucket is None:
            bucket = index
            firsts.append((index, value))
        votes.setdefault(bucket, []).append(index)
    return votes


def _is_vote(value: float | str | None) -> bool:
    return len(value) == 1 if isinstance(value, str) else value is not None


def _is_candidate(value: float | str | None) -> bool:
    return _is_vote(value) and (not isinstance(value, str) or value.isalpha())
