"""PNG curves of one run.

What is drawn: `log.pictures`; matplotlib is slow to load, so import this module only where pictures
are made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from reft_megatron.log.canvas import COLOURS, INK, label_axes, png, styled
from reft_megatron.log.pictures import Panel, Picture
from reft_megatron.log.records import Series
from reft_megatron.types import Reason

__all__ = ["draw_picture", "smooth"]

_VERDICT_COLOURS = {
    Reason.CORRECT: "#3d9a63",
    Reason.WRONG_VALUE: "#f0b75e",
    Reason.NO_SOLUTION: "#b9c2cc",
    Reason.SYNTAX_ERROR: "#8b6fb5",
    Reason.RUNTIME_ERROR: "#d1605e",
    Reason.TIMEOUT: "#7f3b3b",
    Reason.MEMORY: "#5a4a78",
    Reason.NON_FINITE: "#6c7a89",
    Reason.NON_NUMERIC: "#98a4af",
    Reason.DENIED: "#c2185b",
    Reason.EXECUTOR_FAULT: "#111111",
}
_SMOOTH_FROM = 40


def draw_picture(picture: Picture, series: Series) -> bytes | None:
    """The picture of one run as PNG; panels without data are left out, None if all are."""
    panels = [panel for panel in picture.panels if any(name in series for name in panel.lines)]
    if not panels:
        return None
    columns = 2 if len(panels) in (2, 4) else min(len(panels), 3)
    rows = math.ceil(len(panels) / columns)
    with styled():
        figure = Figure(figsize=(10.0, 3.4 if rows == 1 else 2.6 * rows), layout="constrained")
        for place, panel in enumerate(panels, start=1):
            axes = figure.add_subplot(rows, columns, place)
            (_draw_areas if panel.stacked else _draw_lines)(axes, panel, series)
            label_axes(axes, unit=panel.unit, x_label="step")
            axes.set_title(panel.title)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        return png(figure)


def _draw_lines(axes: Axes, panel: Panel, series: Series) -> None:
    shown = [name for name in panel.lines if name in series]
    for colour, name in zip(COLOURS, shown, strict=False):
        steps, values = series[name]
        many = len(steps) >= _SMOOTH_FROM
        if many:
            axes.plot(steps, values, color=colour, alpha=0.28, linewidth=0.9)
        marker = "o" if len(steps) <= 12 else None
        axes.plot(steps, smooth(np.array(values)), color=colour, label=panel.lines[name],
                  marker=marker, markersize=4)  # fmt: skip
    if not any(any(series[name][1]) for name in shown):
        axes.set_ylim(-0.05, 1.0)
    if len(shown) > 1:
        axes.legend(loc="best")


def _draw_areas(axes: Axes, panel: Panel, series: Series) -> None:
    shown = [name for name in panel.lines if any(series.get(name, ([], []))[1])]
    steps = sorted({step for name in shown for step in series[name][0]})
    heights = [_filled(steps, series[name]) for name in shown]
    shares = panel.unit == "share"
    palette = dict(zip(panel.lines, COLOURS, strict=False))
    palette |= {f"verdict/{reason}": colour for reason, colour in _VERDICT_COLOURS.items()}
    axes.stackplot(
        steps,
        *map(smooth, heights) if shares else heights,
        labels=[panel.lines[name] for name in shown],
        colors=[palette[name] for name in shown],
        linewidth=0.4,
        edgecolor="white",
        step=None if shares else "mid",  # evaluations are lone peaks: neither smooth nor slant them
    )
    if shares:
        axes.set_ylim(0.0, 1.0)
    elif "time/iteration" in series:
        whole = _filled(steps, series["time/iteration"])
        axes.plot(steps, whole, color=INK, linewidth=0.9, drawstyle="steps-mid",
                  label="whole iteration")  # fmt: skip
    axes.margins(x=0.0)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _filled(steps: Sequence[int], curve: tuple[list[int], list[float]]) -> NDArray[np.float64]:
    """The curve's value at every one of `steps`, 0 where it has none."""
    at = dict(zip(*curve, strict=True))
    return np.array([at.get(step, 0.0) for step in steps])


def smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centred moving mean over a twentieth of the points; few points stay as they are."""
    if len(values) < _SMOOTH_FROM:
        return values
    window = np.ones(len(values) // 20 | 1)
    sums = np.convolve(values, window, mode="same")
    return sums / np.convolve(np.ones_like(values), window, mode="same")
