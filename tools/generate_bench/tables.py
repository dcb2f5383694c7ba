"""The tables that the benchmark prints.

Owns what a row says; measures nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from rich.table import Table

from tools.extractor_bench.timing import Spread, Timed
from tools.generate_bench.layouts import Told
from tools.generate_bench.sides import Cost

__all__ = ["Found", "sides_table", "stages_table", "verdict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was measured of one side."""

    at_once: int
    """Slots, or rows of a batch."""
    cost: Cost
    """Of any run: they are alike."""
    times: tuple[Timed, ...]
    """Of each run."""
    peak: int
    """Bytes on the GPU over those of both models, at most; 0 on a CPU."""

    @property
    def seconds(self) -> Spread:
        """On the clock."""
        return Spread.of(time.wall for time in self.times)

    @property
    def cpu_s(self) -> float:
        """Seconds of processor time of all threads, which other processes hardly change."""
        return median(time.cpu for time in self.times)


def sides_table(sides: Mapping[str, Found], tokens: int) -> Table:
    """A row for each side, which all generated `tokens` response tokens."""
    table = Table(title=f"{tokens:,} response tokens, median times")
    heads = ("side", "at once", "tokens/s", "spread", "CPU s", "wasted", "prompt tokens read")
    for head in (*heads, "peak GiB") if any(one.peak for one in sides.values()) else heads:
        table.add_column(head, justify="left" if head == "side" else "right")
    for name, one in sides.items():
        seconds = one.seconds
        row = [
            name,
            str(one.at_once),
            f"{tokens / seconds.median:,.1f}",
            f"{tokens / seconds.high:,.1f} to {tokens / seconds.low:,.1f}",
            f"{one.cpu_s:,.1f}",
            f"{one.cost.wasted:.2%}",
            f"{one.cost.read:,}",
            f"{one.peak / 2**30:.2f}",
        ]
        table.add_row(*row[: len(table.columns)])
    return table


def stages_table(told: Mapping[str, Told]) -> Table:
    """A row for each rank of each layout."""
    table = Table(title="Medians of ranks, each on one thread")
    heads = ("seconds", "CPU s", "waited s", "full for s", "idle then", "idle after", "less CPU")
    for head in ("layout", "rank", *heads):
        table.add_column(head, justify="left" if head == "layout" else "right")
    for layout, found in told.items():
        names = ("wall_s", "cpu_s", "waited_s", "full_s", "idle", "idle_after")
        ranks = zip(*map(found.median, names), found.surplus, strict=True)
        for rank, figures in enumerate(ranks):
            seconds = (f"{one:,.1f}" for one in figures[:4])
            table.add_row(layout, str(rank), *seconds, *(f"{one:.1%}" for one in figures[4:]))
    return table


def verdict(met: bool, said: str) -> str:
    """`said` with whether a target is met before it."""
    return f"{'met' if met else 'NOT MET'}: {said}"
