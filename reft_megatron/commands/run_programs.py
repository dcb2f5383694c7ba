"""`reft-megatron run-programs`: programs of a file in, a verdict for each out.

Owns the command line, the columns that are added, the progress bar and the summary.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from reft_megatron.commands.table_file import TableFile, check_output, read_table
from reft_megatron.errors import ConfigError
from reft_megatron.ops.extractor import Extractor, Limits, Results, Route, Status

__all__ = ["parser", "run"]

_CHUNK = 10_000
_WANTED = get_type_hints(Extractor.__init__)
_LIMITS = get_type_hints(Limits)
_COLUMNS = {
    "status": "how it ended: OK, RUNTIME_ERROR, STEP_LIMIT ... (docs/extractor.md)",
    "value": "float() of its answer; null if there is none, or it is nan or infinite",
    "exception": "name of the exception that ended it, or empty",
    "why": "which limit it met, or what is denied or unsupported, or empty",
    "type": "name of the type of its answer, or empty",
    "steps": "work it took in the C++ core: the same on every machine",
    "route": "FAST (the core), WORKER (CPython), DUPLICATE (as an earlier row)",
    "correct": "with --gold: true if the answer is the gold one",
    "text": "with --kind letter: str() of its answer",
}


def run(arguments: Sequence[str]) -> None:
    """Run the command; raises ReftError for bad input, before any program is run."""
    options = parser().parse_args(arguments)
    table = read_table(options.file)
    programs = table.texts(options.column)
    gold = None if options.gold is None else _gold(table, options)
    output = options.output or options.file.with_name(f"{options.file.stem}.verdicts.jsonl")
    names = {name: options.prefix + name for name in _added(options)}
    check_output(output, table, list(names.values()))
    with _extractor(options) as extractor:
        verdicts, seconds = _verdicts(extractor, programs, gold=gold, options=options)
    table.write(output, {names[name]: verdicts[name] for name in names})
    console = Console()
    console.print(_summary(verdicts))
    console.print(_closing(verdicts, seconds), highlight=False)
    console.print(f"{output}: the verdicts", highlight=False, soft_wrap=True)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    columns = "\n".join(f"  {name:<10} {meaning}" for name, meaning in _COLUMNS.items())
    limits = "\n".join(f"  {name}={limit}" for name, limit in Limits()._asdict().items())
    made = argparse.ArgumentParser(
        prog="reft-megatron run-programs",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Runs each program of a file and writes down how it ended and what it returned.\n"
            "Programs run in an interpreter of this package, which knows no files and no network; "
            "what it does\nnot know of Python runs in isolated CPython workers."
        ),
        epilog=(
            f"columns that are added to those of FILE:\n{columns}\n\n"
            f"limits of one program (key=default):\n{limits}\n\n"
            "examples:\n"
            "  reft-megatron run-programs completions.jsonl\n"
            "  reft-megatron run-programs svamp.json --column answer_cot --gold answer_value\n"
            "  reft-megatron run-programs in.parquet --output out.parquet --fallback none "
            "--limit max_steps=5000000"
        ),
    )
    _add_arguments(made)
    return made


def _add_arguments(made: argparse.ArgumentParser) -> None:
    made.add_argument("file", type=Path, metavar="FILE", help=".jsonl, .json (a list) or .parquet")
    made.add_argument(
        "--output",
        type=Path,
        metavar="OUT",
        help=".jsonl or .parquet, overwritten (default: FILE's name with .verdicts.jsonl)",
    )
    made.add_argument("--column", default="program", help="column of programs (%(default)s)")
    made.add_argument("--gold", metavar="COLUMN", help="column of right answers, to compare with")
    made.add_argument(
        "--kind",
        choices=get_args(get_type_hints(Extractor.run)["kind"]),
        default="number",
        help="kind of answers: numbers within 0.01, or letters (%(default)s)",
    )
    made.add_argument("--threads", type=int, default=0, help="threads (default: one for each CPU)")
    made.add_argument(
        "--compat",
        choices=get_args(_WANTED["compat"]),
        default="python",
        help="run a program as a module, or as the reference does (%(default)s)",
    )
    made.add_argument(
        "--entry",
        choices=get_args(_WANTED["entry"]),
        default="solution",
        help="the answer: of solution(), a variable, the output, the last line (%(default)s)",
    )
    made.add_argument("--strip-fences", action="store_true", help="look into ``` blocks")
    made.add_argument(
        "--fallback",
        choices=("worker", "none"),
        default="worker",
        help="what runs a program that the core does not (%(default)s)",
    )
    made.add_argument(
        "--isolation",
        choices=get_args(_WANTED["isolation"]),
        default="thread",
        help="the core in threads of this process, or in locked processes (%(default)s)",
    )
    made.add_argument(
        "--limit",
        nargs="+",
        type=_limit,
        action="extend",
        default=[],
        metavar="key=value",
        help="what one program may use; listed below",
    )
    made.add_argument("--prefix", default="", metavar="TEXT", help="before names of added columns")


def _limit(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    if not equals or name not in _LIMITS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no limit; wanted key=value with a key of {', '.join(_LIMITS)}"
        )
    try:
        number: float = _LIMITS[name](value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{name} is a number, saw {value!r}") from None
    return name, number


def _gold(table: TableFile, options: argparse.Namespace) -> list[Any]:
    if options.kind == "letter":
        return table.texts(options.gold)
    return table.numbers(options.gold)


def _added(options: argparse.Namespace) -> list[str]:
    unwanted = {"correct"} if options.gold is None else set()
    unwanted |= {"text"} if options.kind != "letter" else set()
    return [name for name in _COLUMNS if name not in unwanted]


def _extractor(options: argparse.Namespace) -> Extractor:
    try:
        return Extractor(
            threads=options.threads,
            limits=Limits(**dict(options.limit)),
            compat=options.compat,
            entry=options.entry,
            strip_fences=options.strip_fences,
            fallback=options.fallback,
            isolation=options.isolation,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _verdicts(
    extractor: Extractor,
    programs: Sequence[str | bytes],
    *,
    gold: Sequence[Any] | None,
    options: argparse.Namespace,
) -> tuple[dict[str, list[Any]], float]:
    """Every column of `_COLUMNS` (`correct` and `text` empty if nobody asked), and the seconds that
    running took.
    """
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    seconds = 0.0
    bar = Progress(
        TextColumn("running"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("programs"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("running", total=len(programs))
        for start in range(0, len(programs), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            answers = None if gold is None else gold[chunk]
            began = time.monotonic()
            results = extractor.run(programs[chunk], gold=answers, kind=options.kind)
            seconds += time.monotonic() - began
            for name, values in _columns(results, options.kind).items():
                columns[name] += values
            bar.advance(task, len(results))
    return columns, seconds


def _columns(results: Results, kind: str) -> dict[str, list[Any]]:
    rows = range(len(results))
    return {
        "status": [Status(status).name for status in results.status.tolist()],
        "value": results.value.tolist(),
        "exception": [results.exception(row) for row in rows],
        "why": [results.why(row) for row in rows],
        "type": [results.type_name(row) for row in rows],
        "steps": results.steps.tolist(),
        "route": [Route(route).name for route in results.route.tolist()],
        "correct": [] if results.correct is None else results.correct.tolist(),
        "text": [results.text(row) for row in rows] if kind == "letter" else [],
    }


def _summary(verdicts: dict[str, list[Any]]) -> Table:
    """Counts by status and route."""
    counts = Counter(zip(verdicts["status"], verdicts["route"], strict=True))
    total = counts.total()
    table = Table(title=f"{total:,} programs", title_justify="left")
    table.add_column("status")
    for heading in ("core", "worker", "duplicate", "all", "share"):
        table.add_column(heading, justify="right")
    seen = {status for status, _ in counts}
    for status in [status.name for status in Status if status.name in seen]:
        each = [counts[status, route.name] for route in Route]
        cells = [f"{count:,}" if count else "" for count in each]
        table.add_row(status, *cells, f"{sum(each):,}", f"{sum(each) / total:.2%}")
    if len(seen) > 1:
        each = [verdicts["route"].count(route.name) for route in Route]
        table.add_section()
        table.add_row("all", *(f"{count:,}" if count else "" for count in each), f"{total:,}", "")
        table.add_row("share", *(f"{count / total:.2%}" if count else "" for count in each))
    return table


def _closing(verdicts: dict[str, list[Any]], seconds: float) -> str:
    total = len(verdicts["status"])
    told = f"{seconds:.2f} s, {total / max(seconds, 1e-9):,.0f} programs/s"
    if verdicts["correct"]:
        right = int(np.count_nonzero(verdicts["correct"]))
        told += f"; accuracy {right / total:.1%} ({right:,} of {total:,})"
    return told
