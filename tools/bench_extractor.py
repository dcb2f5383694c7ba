"""Measures the extractor, beside plain exec and others, against its targets.

Owns the command, the table and the line of JSON at the end; `tools/extractor_bench` measures.

Try it: `python tools/bench_extractor.py --data ../shared/data`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

if not __package__:  # started by its path: `tools` is found from the root
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reft_megatron.errors import DataError
from tools.extractor_bench.corpus import Corpus, load
from tools.extractor_bench.figures import Figure, Plan, measure_all
from tools.extractor_bench.memory import soak
from tools.extractor_bench.timing import Spread
from tools.machine import describe_machine

_QUICK = Plan(rounds=2, calls=20, shape=(4, 250), repeats=2, reference_calls=1)
_QUICK_ITEMS = 300
_WIDTH = 108
_MOST_GROWTH_MIB = 4.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, say what came out, and return the exit status."""
    options = _parser().parse_args(arguments)
    plan = _QUICK if options.quick else Plan(rounds=options.rounds, repeats=options.repeats)
    most = _QUICK_ITEMS if options.quick else 1 << 31
    try:
        corpus = load(Path(os.path.expandvars(options.data)), most=most)
    except DataError as error:
        print(f"bench_extractor: {error}", file=sys.stderr)
        return 1
    print(describe_machine("numpy", "reft-megatron"))
    figures = []
    for found in measure_all(corpus, plan):
        if isinstance(found, Figure):
            figures.append(found)
        else:
            print(found, flush=True)
    if options.soak:
        figures.append(_soak(corpus, options.soak))
    console = Console()
    console.width = max(console.width, _WIDTH)
    console.print(_table(figures, quick=options.quick))
    record = {figure.key: round(figure.spread.median, 4) for figure in figures}
    print(json.dumps({"batch_100x1319_s": None, **record, "quick": options.quick}))
    return 0


def _soak(corpus: Corpus, count: int) -> Figure:
    """Growth of memory from the first full round to the end."""
    found = []
    for done, used in soak(corpus.svamp + corpus.plain, count=count):
        print(f"{done:>12,} programs: {used:.1f} MiB", flush=True)
        found.append(used)
    return Figure(
        key="soak_growth_mib",
        label=f"growth over {count:,} programs",
        spread=Spread.of([found[-1] - found[0]]),
        unit="MiB",
        at_most=_MOST_GROWTH_MIB,
    )


def _table(figures: Sequence[Figure], *, quick: bool) -> Table:
    table = Table(title="Processor time, on one thread, unless it says otherwise")
    if quick:
        table.caption = "A quick look: too few rounds and items to be held against the targets."
    table.add_column("what")
    for column in ("median", "spread", "target", ""):
        table.add_column(column, justify="right")
    for figure in figures:
        median, low, high = (_text(value, figure.unit) for value in figure.spread)
        spread = "" if low == high else f"{low} to {high}"
        verdict = {True: "[green]met[/]", False: "[red]not met[/]", None: ""}[figure.met]
        table.add_row(figure.label, median, spread, _target(figure), verdict)
    return table


def _target(figure: Figure) -> str:
    if figure.at_least is not None:
        return f">= {_text(figure.at_least, figure.unit)}"
    return "" if figure.at_most is None else f"<= {_text(figure.at_most, figure.unit)}"


def _text(value: float, unit: str) -> str:
    if unit == "%":
        return f"{value:.2%}"
    if unit == "/s":
        return f"{value:,.0f}/s"
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}{'' if unit == 'x' else ' '}{unit}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench_extractor", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--data",
        default="$REFT_DATA",
        metavar="DIR",
        help="folder with mwp_reft/ and programs/ (default: $REFT_DATA)",
    )
    parser.add_argument("--quick", action="store_true", help="a look of a few seconds")
    parser.add_argument("--rounds", type=int, default=9, help="rounds (%(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=20, help="runs of the big batch (%(default)s)"
    )
    parser.add_argument(
        "--soak",
        type=int,
        default=0,
        metavar="N",
        help="at the end run N programs and watch the memory (10000000 take a minute or two)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
