"""A problem's biography: its samples over iterations, and how they changed.

Owns the table of all samples of one problem and, below it, each text as a difference from the last
one under the same sample number.
"""

from __future__ import annotations

import difflib
from typing import Any

import pyarrow.dataset as ds
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reft_megatron.commands.rollouts.page import answer, heading, verdict
from reft_megatron.commands.rollouts.screen import plain, table
from reft_megatron.commands.rollouts.selection import Reading, records

__all__ = ["show_biography"]

_COLUMNS = (
    *("problem_id", "sample", "policy_version", "text", "reason", "detail", "value", "letter"),
    *("reward", "token_ids", "values"),
)
_STYLES = {"---": "bold", "+++": "bold", "@": "cyan", "-": "red", "+": "green"}
"""By how a line begins; the first that fits."""


def show_biography(console: Console, reading: Reading) -> int:
    """Print the biography of the one problem that `reading` selects; returns its samples."""
    found = list(records(reading.batches({name: ds.field(name) for name in _COLUMNS})))
    if not found:
        return 0
    found.sort(key=lambda pair: (pair[0], pair[1]["policy_version"], pair[1]["sample"]))
    console.print(_table(found))
    before: dict[int, tuple[int, dict[str, Any]]] = {}
    for iteration, row in found:
        console.rule(heading(iteration, row), align="left", style="dim")
        for line in _difference(before.get(row["sample"]), (iteration, row)):
            console.print(line, soft_wrap=True)
        before[row["sample"]] = iteration, row
    return len(found)


def _table(found: list[tuple[int, dict[str, Any]]]) -> Table:
    made = table()
    for name in ("iteration", "version", "sample"):
        made.add_column(name, justify="right")
    made.add_column("verdict", overflow="fold")
    for name in ("answer", "reward", "tokens", "value at\nfirst", "value at\nlast"):
        made.add_column(name, justify="right")
    for iteration, row in found:
        values = row["values"] or []
        made.add_row(
            str(iteration),
            str(row["policy_version"]),
            str(row["sample"]),
            verdict(row),
            plain(answer(row)),
            f"{row['reward']:g}",
            str(len(row["token_ids"])),
            *(f"{value:.4f}" for value in (*values[:1], *values[-1:])),
        )
    return made


def _difference(
    before: tuple[int, dict[str, Any]] | None, now: tuple[int, dict[str, Any]]
) -> list[Text]:
    """Lines of a unified diff, or the whole text where there is nothing to compare it with."""
    iteration, row = now
    if before is None:
        return [plain(row["text"])]
    if before[1]["text"] == row["text"]:
        return [Text(f"as in iteration {before[0]}", "dim")]
    lines = difflib.unified_diff(
        before[1]["text"].split("\n"),
        row["text"].split("\n"),
        fromfile=f"iteration {before[0]}, version {before[1]['policy_version']}",
        tofile=f"iteration {iteration}, version {row['policy_version']}",
        lineterm="",
    )
    return [plain(line, _style(line)) for line in lines]


def _style(line: str) -> str:
    return next((style for start, style in _STYLES.items() if line.startswith(start)), "")
