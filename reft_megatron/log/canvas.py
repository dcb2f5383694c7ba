"""What all pictures have in common: style, colours, how one becomes a PNG.

Owns how matplotlib (slow to load) is set up: pictures are drawn on figures of their own inside
`styled()`, leave no global state behind, and are the same bytes for the same data.
"""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["COLOURS", "INK", "label_axes", "percent", "png", "styled"]

COLOURS = ("#2563a8", "#d97a1e", "#2b8a5b", "#a33f8f", "#7a6a1f", "#5b6b7a")
"""Of lines and bars, in this order."""
INK = "#26313c"
"""Of whiskers, outlines and text on the picture."""
_STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9.0,
    "axes.edgecolor": "#8a94a0",
    "axes.labelcolor": "#4a5562",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.xmargin": 0.01,
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-3, 5),
    "grid.color": "#e4e8ec",
    "grid.linewidth": 0.8,
    "xtick.color": "#4a5562",
    "ytick.color": "#4a5562",
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}


def styled() -> AbstractContextManager[None]:
    """The project's style, for as long as a figure is made, drawn on and saved."""
    return mpl.rc_context(_STYLE)


def label_axes(axes: Axes, *, unit: str, x_label: str) -> None:
    """Name the axes; a share is shown in percent, which needs no name."""
    axes.set_xlabel(x_label)
    if unit == "share":
        axes.yaxis.set_major_formatter(percent)
    else:
        axes.set_ylabel(unit)


def percent(share: float, _position: float) -> str:
    """A share as the text of a tick."""
    return f"{100 * share:.3g}%"


def png(figure: Figure, *, dpi: int = 130) -> bytes:
    """The figure as PNG."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi)
    return out.getvalue()
