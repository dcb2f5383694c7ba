"""The tables at the end: all methods, and ours beside the paper's.

Owns what a person reads on the terminal. With one seed a figure has its 95 % interval over
problems, with several it is their median, with the least and the greatest.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from reft_megatron.commands.reproduce.names import KINDS, kind_of, largest
from reft_megatron.commands.reproduce.results import Results
from reft_megatron.commands.reproduce.spread import across, median
from reft_megatron.rewards.statistics import Estimate

__all__ = ["show_results"]


def show_results(console: Console, results: Results) -> None:
    """Print the tables."""
    console.print(_methods(results))
    if any(method.gains for method in results.methods):
        console.print(_choosing(results))
    if any(method.paper for method in results.methods):
        console.print(_beside_the_paper(results))


def _methods(results: Results) -> Table:
    names = {name: name for method in results.methods for name in method.figures}
    columns = [name for way in KINDS if (name := largest(names, way))]
    title = f"{results.title}: {results.num_problems:,} {results.split} problems, percent"
    table = _table(results, title)
    table.add_column("")
    for column in columns:
        _add_figures(table, column)
    if results.baseline:
        _add_figures(table, f"top-1 over {results.baseline}")
    for same in results.by_name():
        cells = [_cell([m.figures.get(column) for m in same]) for column in columns]
        if results.baseline:
            cells.append(_cell([m.differences.get("top-1") for m in same], signed=True))
        table.add_row(same[0].name, *cells, style="bold" if same[0].role == "ours" else None)
    return table


def _choosing(results: Results) -> Table:
    """What voting and reranking add, on the same problems."""
    names = dict.fromkeys(name for method in results.methods for name in method.gains)
    table = _table(results, "What choosing among samples adds, points on the same problems")
    table.add_column("")
    for name in names:
        _add_figures(table, name)
    for same in results.by_name():
        if same[0].gains:
            cells = [_cell([m.gains.get(name) for m in same], signed=True) for name in names]
            table.add_row(same[0].name, *cells)
    return table


def _beside_the_paper(results: Results) -> Table:
    """The gap is told where ours is the paper's figure, vote@100 for vote@100."""
    table = _table(results, "Ours beside the paper's, percent")
    table.add_column("")
    for column in ("ours", "paper", "gap"):
        table.add_column(column, justify="right")
    table.add_column("source")
    for same in results.by_name():
        for figure, cell in same[0].paper.items():
            own = largest(same[0].figures, kind_of(figure))
            if own is None:
                continue
            value = median(same, own)
            gap = f"{100 * (value - cell.share):+.1f}" if own == figure else ""
            label = figure if own == figure else f"{own} (paper: {figure})"
            table.add_row(
                f"{same[0].name}, {label}",
                f"{100 * value:.1f}",
                f"{100 * cell.share:.1f}",
                gap,
                cell.source,
            )
    return table


def _table(results: Results, title: str) -> Table:
    seeds = ", ".join(map(str, results.seeds))
    kind = (
        f"seed {seeds}; in brackets the 95% interval over problems"
        if len(results.seeds) == 1
        else f"medians over seeds {seeds}; in brackets the least and the greatest"
    )
    return Table(title=title, title_justify="left", caption=kind, caption_justify="left")


def _add_figures(table: Table, heading: str) -> None:
    """A column that may become narrow, but never cuts a word of its heading."""
    table.add_column(heading, justify="right", min_width=max(map(len, heading.split())))


def _cell(figures: Sequence[Estimate | None], *, signed: bool = False) -> str:
    """`67.2 (62.5 to 71.8)` of a figure of each seed; empty unless all have it."""
    over = across(figures)
    if over is None:
        return ""
    numbers = (over.median, over.low, over.high)
    value, least, most = (f"{100 * x:{'+' if signed else ''}.1f}" for x in numbers)
    return f"{value} ({least} to {most})"
