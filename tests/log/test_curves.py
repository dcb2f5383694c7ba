"""Tests of the drawing: real PNGs, looked at through their pixels."""

from __future__ import annotations

import io
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.image import imread
from numpy.typing import NDArray

from reft_megatron.log.curves import draw_picture
from reft_megatron.log.pictures import PICTURES, Picture
from reft_megatron.log.records import Series

BLUE, GREEN = (0x25, 0x63, 0xA8), (0x3D, 0x9A, 0x63)


def picture(key: str) -> Picture:
    return next(picture for picture in PICTURES if picture.key == key)


def pixels(png: bytes | None) -> NDArray[np.uint8]:
    """[height, width, 3]."""
    assert png is not None
    return np.rint(imread(io.BytesIO(png), format="png")[..., :3] * 255).astype(np.uint8)


def count(image: NDArray[np.uint8], colour: tuple[int, int, int]) -> int:
    return int((np.abs(image.astype(int) - colour).max(axis=-1) <= 2).sum())


def line(name: str, values: list[float]) -> Series:
    return {name: (list(range(1, len(values) + 1)), values)}


@pytest.mark.parametrize("points", [1, 5, 60])
def test_a_line_is_drawn_however_few_its_points(points: int):
    image = pixels(draw_picture(picture("kl"), line("kl/sequence", [0.1] * points)))
    assert image.shape == (442, 1300, 3)
    assert count(image, BLUE) > 20


def test_a_picture_without_data_is_left_out():
    assert draw_picture(picture("kl"), line("train/loss", [1.0])) is None


def test_panels_without_data_are_left_out():
    lone = pixels(draw_picture(picture("kl"), line("kl/token", [1.0, 2.0])))
    both = line("kl/token", [1.0, 2.0]) | line("kl/sequence", [1.0, 2.0])
    assert count(lone, BLUE) > count(pixels(draw_picture(picture("kl"), both)), BLUE) / 2


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_verdict_areas_are_as_high_as_their_share(share: float):
    verdicts = line("verdict/correct", [share] * 50) | line("verdict/timeout", [1 - share] * 50)
    image = pixels(draw_picture(picture("verdicts"), verdicts))
    column = image[:, 500].astype(int)
    green = (np.abs(column - GREEN).max(axis=-1) <= 2).sum()
    dark = (np.abs(column - (0x7F, 0x3B, 0x3B)).max(axis=-1) <= 2).sum()
    assert green / (green + dark) == pytest.approx(share, abs=0.02)


def test_phases_that_do_not_run_in_every_step_are_stacked():
    timing: Series = {
        "time/update": ([1, 2, 3], [1.0, 1.0, 1.0]),
        "time/evaluate": ([2], [4.0]),
        "time/iteration": ([1, 2, 3], [1.5, 5.5, 1.5]),
    }
    assert draw_picture(picture("time"), timing) is not None


def test_drawing_is_repeatable_and_leaves_matplotlib_alone():
    before = dict(mpl.rcParams)
    first = draw_picture(picture("kl"), line("kl/token", [1.0, 2.0]))
    assert draw_picture(picture("kl"), line("kl/token", [1.0, 2.0])) == first
    assert dict(mpl.rcParams) == before


def test_the_log_does_not_load_matplotlib():
    code = "import sys, reft_megatron.log; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
