"""pass@k against enumeration, and intervals that cover what they should."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from reft_megatron.errors import DataError
from reft_megatron.rewards.statistics import (
    Estimate,
    bootstrap,
    doublings,
    paired_bootstrap,
    pass_at,
)


@pytest.mark.parametrize(
    ("samples", "ks"),
    [
        (1, [1]),
        (2, [1, 2]),
        (3, [1, 2, 3]),
        (8, [1, 2, 4, 8]),
        (100, [1, 2, 4, 8, 16, 32, 64, 100]),
    ],
)
def test_doublings(samples: int, ks: list[int]) -> None:
    assert doublings(samples) == ks


@pytest.mark.parametrize("samples", range(1, 8))
def test_pass_at_k_is_the_share_of_choices_with_a_right_one(samples: int) -> None:
    """All ways to choose k of the samples, the first c of which are right."""
    for k in range(1, samples + 1):
        wanted = []
        for right in range(samples + 1):
            chosen = list(itertools.combinations(range(samples), k))
            wanted.append(sum(min(choice) < right for choice in chosen) / len(chosen))
        seen = pass_at(k, np.arange(samples + 1), samples=samples)
        np.testing.assert_allclose(seen, wanted, rtol=0, atol=1e-15 * samples)


def test_pass_at_k_of_many_samples_does_not_overflow() -> None:
    """C(2000, 1000) has 600 digits."""
    samples, k, right = 2000, 1000, np.array([0, 1, 5, 1001, 2000])
    wanted = [1 - math.comb(samples - int(c), k) / math.comb(samples, k) for c in right]
    # Python divides integers exactly; ours is a product of a thousand rounded factors.
    np.testing.assert_allclose(pass_at(k, right, samples=samples), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("k", [0, 5])
def test_pass_at_more_than_there_are(k: int) -> None:
    with pytest.raises(DataError) as error:
        pass_at(k, np.array([1]), samples=4)
    assert str(error.value) == (
        f"pass@{k} cannot be told from 4 samples a problem; take a k from 1 to 4, or sample more."
    )


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Of 400 samples of a coin that falls right three times in ten.

    95 % of the intervals should: 380, give or take 3 times 4.4. A percentile interval of a hundred
    coins covers a point less, for it is as discrete as they are; hence 94 % and the same margin.
    """
    coin = np.random.default_rng(7)
    covered = 0
    for seed in range(400):
        falls = coin.random(100) < 0.3
        seen = bootstrap({"coin": falls}, seed=seed, resamples=1000)["coin"]
        covered += seen.low <= 0.3 <= seen.high
    assert 376 - 13 <= covered <= 380 + 13


def test_an_interval_of_many_problems_is_the_normal_one() -> None:
    outcomes = np.random.default_rng(1).beta(2, 3, size=4000)
    seen = bootstrap({"beta": outcomes})["beta"]
    half = 1.959964 * outcomes.std() / math.sqrt(4000)
    assert seen.value == pytest.approx(outcomes.mean())
    # Each end is a quantile of 10,000 draws, some 2.7 % of a standard error off (1 in sigma).
    assert seen.low == pytest.approx(seen.value - half, abs=0.1 * half)
    assert seen.high == pytest.approx(seen.value + half, abs=0.1 * half)


def test_figures_see_the_same_draws() -> None:
    right = np.random.default_rng(2).random(50) < 0.5
    seen = bootstrap({"right": right, "wrong": ~right, "again": right}, resamples=500)
    assert seen["right"] == seen["again"] == bootstrap({"x": right}, resamples=500)["x"]
    assert seen["wrong"].low == pytest.approx(1 - seen["right"].high)
    assert seen != bootstrap({"right": right}, seed=1, resamples=500)


def test_outcomes_all_alike_have_no_width() -> None:
    assert bootstrap({"all": np.ones(9)}) == {"all": Estimate(value=1.0, low=1.0, high=1.0)}


def test_pairs_tell_what_intervals_apart_do_not() -> None:
    """A method that is right wherever the other is, and on one more problem in twenty."""
    random = np.random.default_rng(3).random(400)
    ids = [f"p_{i}" for i in range(400)]
    theirs, ours = random < 0.5, random < 0.55
    apart = bootstrap({"theirs": theirs, "ours": ours})
    assert apart["theirs"].high > apart["ours"].low
    pair = paired_bootstrap(
        dict(zip(ids, ours.astype(float), strict=True)),
        dict(zip(reversed(ids), reversed(theirs.astype(float)), strict=True)),
    )
    assert pair.value == pytest.approx(ours.mean() - theirs.mean())
    assert 0 < pair.low < pair.value < pair.high < 0.1
    assert pair.sure


def test_a_method_does_not_differ_from_itself() -> None:
    outcomes = {"a_1": 1.0, "a_2": 0.0, "a_3": 0.25}
    assert paired_bootstrap(outcomes, outcomes) == Estimate(value=0.0, low=0.0, high=0.0)
    assert not paired_bootstrap(outcomes, outcomes).sure


def test_methods_are_compared_on_the_same_problems() -> None:
    with pytest.raises(DataError) as error:
        paired_bootstrap({"a_1": 1.0, "a_2": 0.0}, {"a_1": 1.0, "a_3": 0.0})
    assert str(error.value) == (
        "2 problems have an outcome of one method only, a_2 among them; compare methods on the "
        "same problems."
    )


@pytest.mark.parametrize("lengths", [{"a": 0}, {"a": 2, "b": 3}, {}])
def test_nothing_to_draw_from(lengths: dict[str, int]) -> None:
    with pytest.raises(DataError) as error:
        bootstrap({name: np.zeros(length) for name, length in lengths.items()})
    assert str(error.value).endswith(f"of the same problems, at least one; saw {lengths}.")
