"""Tests of calibration against sums done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reft_megatron.commands.reproduce.report.calibration import calibrate


def margin(chance: float) -> float:
    return math.log(chance / (1 - chance))


def test_bins_and_error_by_hand():
    chances = [0.12, 0.18, 0.95, 0.91, 0.93, 0.97]
    right = np.array([False, True, True, True, True, False])
    found = calibrate(np.array([*map(margin, chances)]), right, np.arange(6))
    low, high = found.bins
    assert (low.low, low.count, low.accuracy) == (0.1, 2, 0.5)
    assert low.confidence == pytest.approx(0.15)
    assert (high.low, high.count, high.accuracy) == (0.9, 4, 0.75)
    assert high.confidence == pytest.approx(0.94)
    assert found.error == pytest.approx((2 * 0.35 + 4 * 0.19) / 6)
    assert (found.count, found.right) == (6, pytest.approx(4 / 6))


def test_completions_of_one_problem_are_one_witness():
    margins = np.full(8, margin(0.75))
    right = np.array([True, False] * 4)
    alone = calibrate(margins, right, np.arange(8)).bins[0]
    together = calibrate(margins, right, np.array([0, 1] * 4)).bins[0]
    assert alone.half == pytest.approx(1.959964 * math.sqrt(0.25 / 8))
    assert together.half == pytest.approx(2 * alone.half), "four times the same two witnesses"


@pytest.mark.parametrize("truth", [True, False])
def test_one_class_only_has_no_width(truth: bool):
    found = calibrate(np.array([0.0, 1.0]), np.array([truth, truth]), np.array([0, 1]))
    assert [b.half for b in found.bins] == [0.0, 0.0]


def test_what_is_sure_falls_into_the_last_bin():
    found = calibrate(np.array([1e4]), np.array([True]), np.array([0]))
    assert [b.low for b in found.bins] == [0.9]
