"""Majority vote, the vote weighted by scores, and the best-scored answer."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reft_megatron.rewards import majority, reranked, weighted_majority

Value = float | str | None


@pytest.mark.parametrize(
    ("values", "winner"),
    [
        ([], None),
        ([None, None], None),
        ([None, 3.0], 1),
        ([1.0, 2.0, 2.0], 1),
        ([1.0, 2.0, 2.0, 1.0], 0),  # a tie: first seen
        ([2.0, 1.0, 1.0, 2.0], 0),
        ([3.0, 5.0, 3.0000000004, 5.0, 3.009], 0),  # one bucket within 1e-2
        ([3.0, 3.02, 3.02], 1),
        ([None, None, None, 7.0], 3),  # failures do not vote
        ([float("nan"), float("nan"), 1.0, 1.0], 2),  # NaN agrees with nothing
        (["a", "b", "b"], 1),
        (["b", "a"], 0),
        (["none", "none", "a", ""], 2),  # parity reference: text of failures, which is no letter
        (["none", "the answer is a"], None),
    ],
)
def test_winner(values: list[float | str | None], winner: int | None) -> None:
    assert majority(values) == winner


def test_the_reference_counts_raw_floats() -> None:
    """sampling.py:184-199: a Counter of floats, in which 3.0000000004 is not 3.0."""
    values = [3.0, 5.0, 3.0000000004, 5.0, 3.009, math.nan, math.nan, math.nan]
    assert (majority(values), majority(values, exact=True)) == (0, 1)
    assert majority([2, 1.0, 2.0], exact=True) == 0
    assert majority(["none", "c", "b", "c"], exact=True) == 1


def test_the_reference_reranks_letters_and_votes_for_any_one_sign() -> None:
    """One character in sampling.py:184-199, of the alphabet in train_reward_model.py:226-315."""
    values, scores = ["?", "b", "?", "none", "2"], [0.9, 0.1, 0.9, 0.9, 0.9]
    assert majority(values, exact=True) == 0
    assert reranked(values, scores) == 1
    assert reranked(["?", "2"], [0.5, 0.5]) is None


def test_a_bucket_is_measured_from_its_first_value() -> None:
    # 1.016 is near 1.008 but not near 1.0, so it opens a bucket of its own.
    assert majority([1.0, 1.008, 1.016, 5.0, 5.0, 5.0]) == 3
    assert majority([1.0, 1.008, 1.016]) == 0


VALUES = st.sampled_from([None, 1.0, 1.008, 1.016, 2.0, -2.0, math.nan, "a", "b"])
"""Within the tolerance of each other, though not all three; failures; what equals nothing."""
SCORES = st.sampled_from([-3.0, 0.0, 0.5, 0.5 + 2**-30, 0.75, 0.75 + 2**-24])
"""In float32 the third and fourth are equal, the last two are not."""
SAMPLES = st.lists(st.tuples(VALUES, SCORES), max_size=8)


def alike(one: Value, other: Value) -> bool:
    """True if two answers are one."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= 0.01
    return one is not None and one == other


def slow_winner(values: list[Value], weights: list[float]) -> int | None:
    """The vote with exact sums: buckets are opened, filled and compared in the order seen."""
    opened: list[tuple[int, Fraction]] = []
    for index, (value, weight) in enumerate(zip(values, weights, strict=True)):
        if value is None:
            continue
        for place, (first, total) in enumerate(opened):
            if alike(values[first], value):
                opened[place] = (first, total + Fraction(weight))
                break
        else:
            opened.append((index, Fraction(weight)))
    best: tuple[int, Fraction] | None = None
    for bucket in opened:
        if best is None or float(bucket[1]) > float(best[1]):
            best = bucket
    return None if best is None else best[0]


@settings(deadline=None)  # a shared machine may stall
@given(samples=SAMPLES)
def test_votes_are_what_slow_counting_gives(samples: list[tuple[Value, float]]) -> None:
    values = [value for value, _ in samples]
    weights = [abs(score) for _, score in samples]
    assert majority(values) == slow_winner(values, [1.0] * len(values))
    assert weighted_majority(values, weights) == slow_winner(values, weights)
    assert weighted_majority(values, [0.5] * len(values)) == majority(values)


@settings(deadline=None)  # a shared machine may stall
@given(samples=SAMPLES)
def test_the_best_score_is_what_looking_at_each_gives(samples: list[tuple[Value, float]]) -> None:
    best: int | None = None
    for index, (value, score) in enumerate(samples):
        if value is None:
            continue
        if best is None or np.float32(score) > np.float32(samples[best][1]):
            best = index
    assert reranked([value for value, _ in samples], [score for _, score in samples]) == best


@pytest.mark.parametrize(
    ("values", "probabilities", "vote", "best"),
    [
        ([], [], None, None),
        ([None, None], [0.9, 0.8], None, None),
        ([None, 3.0], [0.9, 0.1], 1, 1),
        # Two doubtful ones outvote a sure one, and not the other way round.
        ([1.0, 2.0, 1.004], [0.5, 0.9, 0.5], 0, 1),
        ([1.0, 2.0, 1.004], [0.4, 0.9, 0.4], 1, 1),
        ([2.0, 1.0, 1.0], [0.5, 0.25, 0.25], 0, 0),  # a tie: first seen
        # In another order these three would sum to another float.
        ([1.0, 2.0, 1.0, 2.0, 1.0, 2.0], [0.1, 0.3, 0.2, 0.2, 0.3, 0.1], 0, 1),
        ([1.0, 2.0], [0.0, 0.0], 0, 0),
    ],
)
def test_chosen_by_score(
    values: list[Value], probabilities: list[float], vote: int | None, best: int | None
) -> None:
    assert weighted_majority(values, probabilities) == vote
    assert reranked(values, probabilities) == best
