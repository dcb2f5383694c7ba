"""Tests of the pictures, looked at through their pixels."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.image import imread
from numpy.typing import NDArray

from reft_megatron.commands.reproduce.report.calibration import calibrate
from reft_megatron.commands.reproduce.report.drawing import (
    Line,
    draw_at_k,
    draw_differences,
    draw_lines,
    draw_path,
    draw_reliability,
)
from reft_megatron.rewards.statistics import Estimate

BLUE, ORANGE, GREY = (0x25, 0x63, 0xA8), (0xD9, 0x7A, 0x1E), (0x98, 0xA4, 0xAF)


def count(png: bytes, colour: tuple[int, int, int]) -> int:
    image: NDArray[np.float64] = imread(io.BytesIO(png), format="png")[..., :3] * 255
    return int((np.abs(image - colour).max(axis=-1) <= 2).sum())


def about(value: float, half: float = 0.05) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half)


def test_each_kind_has_a_line_and_a_band():
    vote = {1: about(0.4), 2: about(0.5), 8: about(0.6)}
    both = {"vote": vote, "pass": {k: about(e.value + 0.2) for k, e in vote.items()}}
    png = draw_at_k(both, greedy=about(0.45), limits=(0.2, 1.0))
    assert count(png, BLUE) > 500
    assert count(png, ORANGE) > 500
    assert count(draw_at_k({"vote": vote}, greedy=None, limits=(0.2, 1.0)), ORANGE) == 0


def test_a_method_keeps_its_colour_in_every_picture():
    line = Line(name="ReFT", place=1, x=[1, 2, 3], y=[0.2, 0.4, 0.3])
    lines = draw_lines([line], x_label="passes")
    path = draw_path([line], x_label="KL", y_label="reward")
    assert min(count(png, ORANGE) for png in (lines, path)) > 500
    assert max(count(png, BLUE) for png in (lines, path)) == 0


def test_methods_past_the_last_colour_are_dashed():
    first, seventh = (Line(name="x", place=place, x=[], y=[]) for place in (0, 6))
    assert (first.colour, first.dashes) == (seventh.colour, "-")
    assert seventh.dashes == "--"


def test_only_differences_that_leave_out_zero_are_blue():
    apart, beneath, unclear = about(0.1), about(-0.1), about(0.01)
    assert count(draw_differences([("a", unclear)]), BLUE) == 0
    assert count(draw_differences([("a", unclear)]), GREY) > 300
    assert count(draw_differences([("a", apart), ("b", beneath)]), BLUE) > 600


def test_a_reliability_diagram_has_points_and_bars():
    found = calibrate(np.array([-3.0, 0.0, 3.0]), np.array([False, True, True]), np.arange(3))
    assert count(draw_reliability(found), BLUE) > 3000
