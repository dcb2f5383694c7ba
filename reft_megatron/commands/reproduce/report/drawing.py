"""The pictures of a comparison, drawn as PNG for half a page's width.

Owns how they look; what is in them comes from the caller. On a phone one fills the screen, so the
text of each can be read there too. matplotlib is slow to load: import where pictures are made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from reft_megatron.commands.reproduce.report.calibration import Calibration
from reft_megatron.log.canvas import COLOURS, INK, label_axes, percent, png, styled
from reft_megatron.rewards.statistics import Estimate

__all__ = ["Line", "draw_at_k", "draw_differences", "draw_lines", "draw_path", "draw_reliability"]

_WIDTH, _HEIGHT = 5.2, 3.7
_DPI = 200
_DASHES = ("-", "--", ":", "-.")
_GUIDE = "#98a4af"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Points of one method with one seed."""

    name: str
    """The method."""
    place: int
    """Its place among all methods, which gives it the same colour in every picture."""
    x: Sequence[float]
    """Where."""
    y: Sequence[float]
    """How much."""

    @property
    def colour(self) -> str:
        """Its colour."""
        return COLOURS[self.place % len(COLOURS)]

    @property
    def dashes(self) -> str:
        """How it is dashed: methods past the last colour begin anew, dashed otherwise."""
        return _DASHES[self.place // len(COLOURS) % len(_DASHES)]


def draw_at_k(
    curves: Mapping[str, Mapping[int, Estimate]],
    *,
    greedy: Estimate | None,
    limits: tuple[float, float],
) -> bytes:
    """Accuracy against the number of samples k, with bands for intervals.

    curves: kind to k to figure; limits: of the axis of shares, the same for all methods.
    """
    with _axes() as (figure, axes):
        ticks = sorted({k for curve in curves.values() for k in curve})
        for place, (kind, curve) in enumerate(curves.items()):
            ks, found = list(curve), list(curve.values())
            line = Line(name=kind, place=place, x=ks, y=[f.value for f in found])
            axes.fill_between(ks, [f.low for f in found], [f.high for f in found],
                              color=line.colour, alpha=0.13, linewidth=0)  # fmt: skip
            axes.plot(ks, line.y, color=line.colour, marker="o", markersize=3.5, label=f"{kind}@k")
        if greedy is not None:
            axes.axhline(greedy.value, color=INK, linewidth=1.1, linestyle=(0, (4, 3)))
            axes.plot([], [], color=INK, linewidth=1.1, linestyle=(0, (4, 3)), label="top-1")
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [str(k) for k in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_ylim(*limits)
        label_axes(axes, unit="share", x_label="samples per problem, k")
        axes.legend(loc="best")
        return png(figure, dpi=_DPI)


def draw_lines(lines: Sequence[Line], *, x_label: str) -> bytes:
    """Shares of several methods on one axis; the best point of each line is marked."""
    with _axes() as (figure, axes):
        for line in lines:
            marks: dict[str, Any] = {"color": line.colour, "marker": "o", "linestyle": "none"}
            axes.plot(line.x, line.y, color=line.colour, linestyle=line.dashes, linewidth=1.5)
            axes.plot(line.x, line.y, **marks, markersize=2.5)
            best = int(np.argmax(line.y))
            axes.plot(line.x[best], line.y[best], **marks, markersize=7)
        _legend(axes, lines)
        label_axes(axes, unit="share", x_label=x_label)
        return png(figure, dpi=_DPI)


def draw_path(lines: Sequence[Line], *, x_label: str, y_label: str) -> bytes:
    """Where runs went in a plane, from the ring to the dot."""
    with _axes() as (figure, axes):
        for line in lines:
            axes.plot(line.x, line.y, color=line.colour, linestyle=line.dashes, linewidth=1.3)
            axes.plot(line.x[0], line.y[0], color=line.colour, marker="o", markersize=7,
                      markerfacecolor="white", linestyle="none")  # fmt: skip
            axes.plot(line.x[-1], line.y[-1], color=line.colour, marker="o", markersize=7)
        _legend(axes, lines)
        label_axes(axes, unit=y_label, x_label=x_label)
        return png(figure, dpi=_DPI)


def draw_reliability(found: Calibration) -> bytes:
    """How often a probability is right, above how often it is given."""
    with styled():
        figure = Figure(figsize=(_WIDTH, 4.6), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        above.plot([0, 1], [0, 1], color=_GUIDE, linewidth=1.1, linestyle=(0, (4, 3)))
        centres = [b.confidence for b in found.bins]
        above.errorbar(centres, [b.accuracy for b in found.bins], [b.half for b in found.bins],
                       color=COLOURS[0], marker="o", markersize=4.5, capsize=3)  # fmt: skip
        above.set_ylim(-0.03, 1.03)
        label_axes(above, unit="share", x_label="")
        above.set_title("Right, of those scored so")
        lows = [b.low for b in found.bins]
        shares = [b.count / found.count for b in found.bins]
        below.bar(lows, shares, 0.1, align="edge", color=COLOURS[0], edgecolor="white")
        label_axes(below, unit="share", x_label="the reranker's probability of being right")
        below.set_title("Completions scored so")
        below.set_xlim(-0.02, 1.02)
        below.xaxis.set_major_formatter(FuncFormatter(percent))
        return png(figure, dpi=_DPI)


def draw_differences(rows: Sequence[tuple[str, Estimate]]) -> bytes:
    """Differences with their intervals, one under the other, and a line where there is none."""
    with styled():
        height = 0.9 + 0.36 * len(rows)
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        axes = figure.add_subplot()
        for place, (_, estimate) in enumerate(rows):
            colour = COLOURS[0] if estimate.sure else _GUIDE
            bounds = [100 * bound for bound in (estimate.low, estimate.high)]
            axes.plot(bounds, [place, place], color=colour, linewidth=2.4)
            axes.plot(100 * estimate.value, place, color=colour, marker="o", markersize=7)
        axes.axvline(0.0, color=INK, linewidth=1.0)
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.08)
        axes.set_xlabel("points")
        return png(figure, dpi=_DPI)


@contextmanager
def _axes() -> Iterator[tuple[Figure, Axes]]:
    with styled():
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        yield figure, figure.add_subplot()


def _legend(axes: Axes, lines: Sequence[Line]) -> None:
    """One entry for each method, however many seeds it has; none if there is one method."""
    named = {line.name: line for line in lines}
    for line in named.values():
        axes.plot([], [], color=line.colour, linestyle=line.dashes, label=line.name)
    if len(named) > 1:
        axes.legend(loc="best")
