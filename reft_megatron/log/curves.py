"""PNG curves of one run, of several runs on one axis, and bars with intervals.

What is drawn: `log.pictures`; matplotlib is slow to load, so import this module only where pictures
are made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from reft_megatron.log.canvas import COLOURS, INK, label_axes, percent, png, styled
from reft_megatron.log.metrics import GLOSSARY, value_text
from reft_megatron.log.pictures import Panel, Picture
from reft_megatron.log.records import Series
from reft_megatron.types import Reason

__all__ = ["draw_bars", "draw_overlay", "draw_picture", "smooth"]

_VERDICTCOLOURS = {
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


def draw_overlay(metric: str, runs: Mapping[str, Series]) -> bytes | None:
    """One metric of several runs against the share of each run done, as PNG; None without data.

    Runs of different kinds count their steps in different things, so that only the share is
    common to them. The best point of each run is marked.
    """
    found = {label: series[metric] for label, series in runs.items() if metric in series}
    if not found:
        return None
    with styled():
        figure = Figure(figsize=(10.0, 3.8), layout="constrained")
        axes = figure.add_subplot()
        for colour, (label, (steps, values)) in zip(COLOURS, found.items(), strict=False):
            done = [step / max(steps[-1], 1) for step in steps]
            best = int(np.argmax(values))
            text = f"{label} (best {value_text(metric, values[best])})"
            axes.plot(done, values, color=colour, marker="o", markersize=3, label=text)
            axes.plot(done[best], values[best], color=colour, marker="o", markersize=9)
        label_axes(axes, unit=GLOSSARY[metric].unit, x_label="share of the run")
        axes.xaxis.set_major_formatter(percent)
        axes.legend(loc="lower right")
        return png(figure)


def draw_bars(
    labels: Sequence[str],
    groups: Mapping[str, Sequence[tuple[float, float, float]]],
) -> bytes:
    """Shares as grouped bars with intervals, as PNG.

    groups: for each colour one (value, low, high) per label; NaN leaves a gap.
    """
    width = 0.78 / len(groups)
    with styled():
        figure = Figure(figsize=(10.0, 3.8), layout="constrained")
        axes = figure.add_subplot()
        for index, (group, rows) in enumerate(groups.items()):
            value, low, high = np.array(rows).T
            centre = np.arange(len(labels)) + (index - (len(groups) - 1) / 2) * width
            axes.bar(centre, value, width * 0.94, color=COLOURS[index], label=group)
            errors = np.maximum([value - low, high - value], 0.0)
            axes.errorbar(centre, value, yerr=errors, fmt="none", color=INK, capsize=3)
            for x, y, top in zip(centre, value, high, strict=True):
                if math.isfinite(y):
                    axes.annotate(f"{y:.1%}", (x, top), (0, 4), textcoords="offset points",
                                  ha="center", fontsize=9, color=INK)  # fmt: skip
        label_axes(axes, unit="share", x_label="")
        axes.set_xticks(range(len(labels)), labels)
        axes.margins(y=0.16)
        axes.grid(visible=False, axis="x")
        axes.legend(loc="upper left")
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
    palette |= {f"verdict/{reason}": colour for reason, colour in _VERDICTCOLOURS.items()}
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
