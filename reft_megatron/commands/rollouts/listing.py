"""The tables of iterations and of verdicts.

Owns what is counted of the rollouts that pass the filters, batch by batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from reft_megatron.commands.rollouts.screen import table
from reft_megatron.commands.rollouts.selection import Reading, told_numbers
from reft_megatron.types import Reason

__all__ = ["show_listing"]

_COLUMNS = {
    **{name: ds.field(name) for name in ("problem_id", "reason", "policy_version", "reward")},
    "length": pc.list_value_length(ds.field("token_ids")),
    "cut": (~ds.field("finished")).cast(pa.int64()),
}
_SUMS = [("reward", "count"), ("reward", "sum"), ("length", "sum"), ("cut", "sum")]
_SHOWN = 4
"""Reasons with a column of their own, beside `correct`: what 100 columns hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tally:
    """What is known of some rollouts together; it grows."""

    problems: set[str] = field(default_factory=set)
    versions: set[int] = field(default_factory=set)
    sums: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """By reason: rollouts, and sums of reward, of response tokens, of those cut, [4]."""

    def add(self, rows: pa.RecordBatch) -> None:
        """Count `rows` with the columns `_COLUMNS`."""
        self.problems.update(rows["problem_id"].unique().to_pylist())
        self.versions.update(rows["policy_version"].unique().to_pylist())
        grouped = pa.Table.from_batches([rows]).group_by("reason").aggregate(_SUMS)
        sums = np.stack([grouped["_".join(name)].to_numpy() for name in _SUMS], axis=1)
        for reason, row in zip(grouped["reason"].to_pylist(), sums, strict=True):
            self.sums[reason] = self.sums.get(reason, 0) + row

    @property
    def total(self) -> NDArray[np.float64]:
        """The sums over all reasons, [4]."""
        return sum(self.sums.values(), np.zeros(4))

    def share(self, *reasons: str) -> float:
        """Share of rollouts with one of these reasons."""
        return float(sum(self.sums[r][0] for r in reasons if r in self.sums) / self.total[0])


def show_listing(console: Console, reading: Reading) -> int:
    """Print the tables; returns how many rollouts they are about, and prints nothing for none."""
    tallies: dict[int, _Tally] = {}
    total = _Tally()
    for iteration, rows in reading.batches(_COLUMNS, bar=True):
        for tally in (tallies.setdefault(iteration, _Tally()), total):
            tally.add(rows)
    if not tallies:
        return 0
    console.print(_iterations(tallies, total))
    console.print(_verdicts(total))
    return int(total.total[0])


def _iterations(tallies: Mapping[int, _Tally], total: _Tally) -> Table:
    """One row an iteration; reasons in the order of their shares, the rarest together."""
    reasons = [r for r in _by_share(total) if r != Reason.CORRECT]
    columns = {reason: [reason] for reason in reasons}
    if len(reasons) > _SHOWN:
        columns = {reason: [reason] for reason in reasons[: _SHOWN - 1]}
        columns["other"] = reasons[_SHOWN - 1 :]
    made = _table("iter-\nation", "roll-\nouts", "prob-\nlems", "mean\nreward", "accu-\nracy")
    for heading in (*columns, "mean\nlength", "policy\nversions"):
        made.add_column(heading.replace("_", "\n"), justify="right")
    for name, tally in [*((str(n), t) for n, t in tallies.items()), ("all", total)]:
        if name == "all":
            made.add_section()
        count, reward, length, _ = tally.total
        made.add_row(
            name,
            f"{count:,.0f}",
            f"{len(tally.problems):,}",
            f"{reward / count:.3f}",
            _percent(tally.share(Reason.CORRECT)),
            *(_percent(tally.share(*together)) for together in columns.values()),
            f"{length / count:.1f}",
            told_numbers([(min(tally.versions), max(tally.versions))]),
        )
    return made


def _verdicts(total: _Tally) -> Table:
    made = _table("verdict", "rollouts", "share", "mean reward", "mean length", "truncated")
    for reason in _by_share(total):
        count, reward, length, cut = total.sums[reason]
        made.add_row(
            reason,
            f"{count:,.0f}",
            _percent(total.share(reason)),
            f"{reward / count:.3f}",
            f"{length / count:.1f}",
            _percent(cut / count),
        )
    return made


def _by_share(tally: _Tally) -> list[str]:
    return sorted(tally.sums, key=lambda reason: (-tally.sums[reason][0], reason))


def _table(first: str, *others: str) -> Table:
    made = table()
    made.add_column(first)
    for heading in others:
        made.add_column(heading, justify="right")
    return made


def _percent(share: float) -> str:
    return f"{share:.1%}" if share else ""
