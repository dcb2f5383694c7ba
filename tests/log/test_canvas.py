"""Tests of what every picture has in common."""

from __future__ import annotations

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from reft_megatron.log.canvas import label_axes, percent, png, styled


def drawn(*, dpi: int = 130) -> bytes:
    with styled():
        figure = Figure(figsize=(2.0, 1.0))
        axes = figure.add_subplot()
        axes.plot([0, 1], [0.0, 0.5])
        label_axes(axes, unit="share", x_label="step")
        return png(figure, dpi=dpi)


def test_the_same_data_gives_the_same_bytes():
    assert drawn() == drawn()


@pytest.mark.parametrize("dpi", [100, 200])
def test_the_size_is_inches_by_dots(dpi: int):
    header = drawn(dpi=dpi)[16:24]
    assert (int.from_bytes(header[:4]), int.from_bytes(header[4:])) == (2 * dpi, dpi)


def test_a_style_ends_with_its_block():
    before = dict(mpl.rcParams)
    with styled():
        assert not mpl.rcParams["axes.spines.top"]
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0%"), (0.125, "12.5%"), (1.0, "100%"), (-0.02, "-2%")]
)
def test_shares_are_ticked_in_percent(share: float, text: str):
    assert percent(share, 0) == text


@pytest.mark.parametrize(("unit", "name"), [("share", ""), ("nats", "nats")])
def test_a_unit_that_percent_does_not_tell_is_named(unit: str, name: str):
    with styled():
        axes = Figure().add_subplot()
        label_axes(axes, unit=unit, x_label="step")
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", name)
