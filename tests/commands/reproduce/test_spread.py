"""Tests of figures over seeds."""

from __future__ import annotations

from dataclasses import replace

from reft_megatron.commands.reproduce.spread import Spread, across, median, spread
from reft_megatron.rewards.statistics import Estimate
from tests.commands.reproduce.test_names import METHOD

LOW, HIGH = Estimate(value=0.4, low=0.3, high=0.5), Estimate(value=0.6, low=0.2, high=0.7)


def test_a_spread() -> None:
    assert spread([3.0, 1.0, 5.0]) == Spread(median=3.0, low=1.0, high=5.0)
    assert spread([1.0, 2.0]).median == 1.5


def test_a_median_of_a_method() -> None:
    same = [replace(METHOD, figures={"top-1": figure}) for figure in (HIGH, LOW, LOW)]
    assert median(same, "top-1") == 0.4


def test_one_seed_has_its_interval_and_several_their_range() -> None:
    assert across([HIGH]) == Spread(median=0.6, low=0.2, high=0.7)
    assert across([LOW, HIGH]) == Spread(median=0.5, low=0.4, high=0.6)
    assert across([LOW, None]) is across([]) is None
