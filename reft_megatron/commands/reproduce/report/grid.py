"""The table of methods and figures, ours beside the paper's.

Owns what stands in a cell, as text: with one seed the figure and its interval over problems, with
several their median with the least and the greatest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reft_megatron.commands.reproduce.names import columns, ordered, points, share
from reft_megatron.commands.reproduce.results import Method, Results
from reft_megatron.commands.reproduce.spread import across, median
from reft_megatron.rewards.statistics import Estimate

__all__ = ["Cell", "Grid", "Row", "differences", "every_k", "figures", "gains"]

_Pick = Callable[[Method], Estimate | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One figure as text; empty where it was not measured."""

    value: str = ""
    """The figure, or its median over seeds."""
    range: str = ""
    """Its 95 % interval, or the least and the greatest over seeds."""
    paper: str = ""
    """The paper's figure for the same cell."""
    gap: str = ""
    """Ours minus the paper's, in points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method."""

    name: str
    """Its name, with its seed where a grid is of several."""
    ours: bool
    """Whether it is the method that all is about."""
    cells: tuple[Cell, ...]
    """One for each column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table of methods and columns."""

    caption: str
    """What it holds, for those who do not see the page around it too."""
    columns: tuple[str, ...]
    """Names of the columns."""
    rows: tuple[Row, ...]
    """In the order of the results."""


def figures(results: Results, seeds: Sequence[int]) -> Grid:
    """All methods with the figures of the most samples, of some of the seeds."""
    names = columns(results.methods)
    return Grid(
        caption=f"Share of {results.num_problems:,} {results.split} problems answered right, "
        f"{_told(seeds)}",
        columns=tuple(names),
        rows=tuple(
            Row(
                name=same[0].name,
                ours=same[0].role == "ours",
                cells=tuple(_with_paper(same, figure) for figure in names),
            )
            for same in results.by_name(seeds)
        ),
    )


def every_k(results: Results, seeds: Sequence[int]) -> Grid:
    """All figures, one row each, methods side by side."""
    methods = results.by_name(seeds)
    names = ordered(figure for method in results.methods for figure in method.figures)
    return Grid(
        caption=f"Every figure, {_told(seeds)}",
        columns=tuple(same[0].name for same in methods),
        rows=tuple(
            Row(
                name=figure,
                ours=False,
                cells=tuple(_cell(same, _figure(figure), text=share) for same in methods),
            )
            for figure in names
        ),
    )


def differences(results: Results, seeds: Sequence[int]) -> Grid | None:
    """Each method minus the baseline on the same problems, in points; None without a baseline."""
    return _paired(
        results,
        seeds,
        pick=lambda figure: lambda method: method.differences.get(figure),
        names=ordered(figure for method in results.methods for figure in method.differences),
        caption=f"Points over {results.baseline} on the same problems, {_told(seeds)}",
    )


def gains(results: Results, seeds: Sequence[int]) -> Grid | None:
    """What choosing among samples adds, in points; None if nothing was sampled."""
    return _paired(
        results,
        seeds,
        pick=lambda name: lambda method: method.gains.get(name),
        names=list(dict.fromkeys(name for method in results.methods for name in method.gains)),
        caption=f"Points gained by choosing among samples, {_told(seeds)}",
    )


def _paired(
    results: Results,
    seeds: Sequence[int],
    *,
    pick: Callable[[str], _Pick],
    names: Sequence[str],
    caption: str,
) -> Grid | None:
    """One column for each of `names` at the most samples, one row for each method that has any."""
    shown = [name for name in names if name in columns(results.methods) or " - " in name]
    rows = []
    for same in results.by_name(seeds):
        cells = tuple(_cell(same, pick(name), text=points) for name in shown)
        if any(cell.value for cell in cells):
            rows.append(Row(name=same[0].name, ours=same[0].role == "ours", cells=cells))
    if not rows:
        return None
    return Grid(caption=caption, columns=tuple(shown), rows=tuple(rows))


def _with_paper(same: Sequence[Method], figure: str) -> Cell:
    cell = _cell(same, _figure(figure), text=share)
    paper = same[0].paper.get(figure)
    if paper is None:
        return cell
    gap = ""
    if cell.value:
        gap = points(median(same, figure) - paper.share)
    return Cell(value=cell.value, range=cell.range, paper=share(paper.share), gap=gap)


def _figure(name: str) -> _Pick:
    return lambda method: method.figures.get(name)


def _cell(same: Sequence[Method], pick: _Pick, *, text: Callable[[float], str]) -> Cell:
    """Empty unless all seeds have the figure."""
    over = across([pick(method) for method in same])
    if over is None:
        return Cell()
    bounds = (text(bound).removesuffix("%") for bound in (over.low, over.high))
    return Cell(value=text(over.median), range=" to ".join(bounds))


def _told(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"seed {seeds[0]}, with the 95% interval over problems"
    listed = ", ".join(map(str, seeds))
    return f"median over the seeds {listed}, with the least and the greatest"
