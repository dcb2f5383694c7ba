"""`reft-megatron compare`: two evaluations of the same problems, by figure.

Owns saying what differs. A difference is the first run's mean minus the second's, with the 95 %
interval of the bootstrap over problems, both runs on the same draws: where intervals of the two
overlap, their difference may still be sure.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from reft_megatron.commands.outcomes import read_outcomes
from reft_megatron.errors import DataError
from reft_megatron.rewards.statistics import Estimate, paired_bootstrap

__all__ = ["parser", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One figure of both runs."""

    first: float
    """The first run's mean over problems."""
    second: float
    """The second's."""
    difference: Estimate
    """First minus second."""


def run(arguments: Sequence[str]) -> None:
    """Run the command; raises DataError for what cannot be compared."""
    options = parser().parse_args(arguments)
    names = (str(options.first), str(options.second))
    runs = (read_outcomes(options.first), read_outcomes(options.second))
    found = _differences(runs, names)
    alone = [sorted(set(ours) - set(found)) for ours in runs]
    problems = len(next(iter(runs[0].values())))
    if options.json:
        tree = _tree(found, names, alone=alone, problems=problems)
        sys.stdout.write(json.dumps(tree, indent=1) + "\n")
    else:
        _show(found, names, alone=alone, problems=problems)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="reft-megatron compare",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Compares two runs of `evaluate` on the same problems: of each figure that both have, "
            "the first\nminus the second, with its 95% interval (paired bootstrap over problems), "
            "and whether that leaves\nout 0. The interval knows the chance in the problems, not "
            "that of training: seeds are for that."
        ),
        epilog=(
            "examples:\n"
            "  reft-megatron compare runs/gsm8k-tiny-reft-test runs/gsm8k-tiny-sft-test\n"
            "  reft-megatron compare runs/reft-test runs/sft-test --json > difference.json"
        ),
    )
    made.add_argument("first", type=Path, metavar="RUN_A", help="folder of an evaluation")
    made.add_argument("second", type=Path, metavar="RUN_B", help="folder of another")
    made.add_argument("--json", action="store_true", help="print JSON in the place of a table")
    return made


def _differences(
    runs: Sequence[Mapping[str, Mapping[str, float]]], names: Sequence[str]
) -> dict[str, Difference]:
    """Of the figures that both have, in the first one's order; DataError if there are none."""
    first, second = runs
    common = [name for name in first if name in second]
    if not common:
        raise DataError(
            f"{names[0]} and {names[1]} have no figure in common: "
            f"{', '.join(first) or 'none'}; and {', '.join(second) or 'none'}."
        )
    return {
        name: Difference(
            first=float(np.mean([*first[name].values()])),
            second=float(np.mean([*second[name].values()])),
            difference=paired_bootstrap(first[name], second[name]),
        )
        for name in common
    }


def _tree(
    found: Mapping[str, Difference],
    names: Sequence[str],
    *,
    alone: Sequence[Sequence[str]],
    problems: int,
) -> dict[str, Any]:
    figures = {
        name: {
            "first": one.first,
            "second": one.second,
            "difference": one.difference.value,
            "low": one.difference.low,
            "high": one.difference.high,
            "excludes_zero": one.difference.sure,
        }
        for name, one in found.items()
    }
    only = {"only_first": list(alone[0]), "only_second": list(alone[1])}
    return {"runs": list(names), "num_problems": problems, "figures": figures, **only}


def _show(
    found: Mapping[str, Difference],
    names: Sequence[str],
    *,
    alone: Sequence[Sequence[str]],
    problems: int,
) -> None:
    """Differences in points of a hundred."""
    table = Table(title=f"A minus B on {problems:,} problems, in points", title_justify="left")
    table.add_column("")
    for heading in ("A", "B", "A - B", "95% interval", "leaves out 0"):
        table.add_column(heading, justify="right")
    for name, one in found.items():
        ends = (f"{100 * end:+.1f}" for end in (one.difference.low, one.difference.high))
        table.add_row(
            name,
            f"{one.first:.1%}",
            f"{one.second:.1%}",
            f"{100 * one.difference.value:+.1f}",
            " to ".join(ends),
            "yes" if one.difference.sure else "no",
        )
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    for letter, name, figures in zip("AB", names, alone, strict=True):
        console.print(f"{letter}: {name}{_left_out(figures)}", markup=False)


def _left_out(figures: Sequence[str]) -> str:
    return f" (left out, as it alone has them: {', '.join(figures)})" if figures else ""
