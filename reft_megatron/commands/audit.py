"""`reft-megatron audit`: what a run's reward gets wrong, told before the run.

Owns the command line and what is shown. Counting and bars are `rewards.audit`'s, cases come from a
file (`tasks.labelled`) or from gold programs and texts (`rewards.labelling`).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reft_megatron.config import load_config
from reft_megatron.errors import DataError
from reft_megatron.files import write_whole
from reft_megatron.rewards import open_judge
from reft_megatron.rewards.audit import Audit, Finding, audit
from reft_megatron.rewards.labelling import PROBLEMS, labelled
from reft_megatron.tasks import load_task, read_labelled
from reft_megatron.tasks.gold import answer_kind
from reft_megatron.types import Labelled

__all__ = ["parser", "run"]


def run(arguments: Sequence[str]) -> None:
    """Run the command; raises TrainingError if the reward does not meet its bar, and other
    ReftErrors for bad input, before anything is judged.
    """
    options = parser().parse_args(arguments)
    bars = {name: bar for name in _BARS if (bar := getattr(options, name)) is not None}
    settings = [f"rewards.{name}={bar}" for name, bar in bars.items()]
    config = load_config(options.config, [*options.overrides, *settings])
    kind = answer_kind(config.task)
    if options.build:
        problems = load_task(config.task).problems("train")[: options.problems or None]
        cases = labelled(problems, config.task, config.rewards, kind=kind)
    else:
        cases = read_labelled(options.cases, kind=kind)
    if options.write:
        _write(options.write, cases)
    with open_judge(config.task, config.rewards, kind=kind) as judge:
        found = audit(cases, judge.check)
    if options.json:
        _print_json(found)
    else:
        _show(found, options.list)
    found.demand(**{name: getattr(config.rewards, name) for name in _BARS})


_BARS = ("max_false_positive_rate", "max_false_negative_rate")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="reft-megatron audit",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Has the reward of a run judge completions known to be right or wrong.\n"
            "Tells false positives (labelled wrong, paid in full) and false negatives (labelled\n"
            "right, not paid in full) by kind; ends with 1 if there are more than the bar allows."
        ),
        epilog=(
            "a file of cases (.jsonl, .json or .parquet) has the texts id, answer, completion\n"
            "and label (right or wrong), perhaps kind and question; docs/audit.md says more.\n\n"
            "examples:\n"
            "  reft-megatron audit --cases labelled.jsonl --config examples/configs/"
            "ppo_gsm8k_tiny.yaml\n"
            "  reft-megatron audit --build task.train_size=100 --json"
        ),
    )
    source = made.add_mutually_exclusive_group(required=True)
    source.add_argument("--cases", metavar="FILE", help="labelled completions")
    source.add_argument(
        "--build", action="store_true", help="make cases from the gold chains of task.train"
    )
    made.add_argument("overrides", nargs="*", metavar="section.key=value", help="a setting")
    made.add_argument("--config", metavar="FILE", help="YAML file of settings: those of the run")
    made.add_argument(
        "--problems",
        type=_count,
        default=PROBLEMS,
        metavar="N",
        help="problems to build cases from, some thirty each (%(default)s; 0 takes all)",
    )
    made.add_argument("--write", type=Path, metavar="OUT", help="write the cases to a .jsonl file")
    for name, meaning in zip(_BARS, ("labelled wrong", "labelled right"), strict=True):
        made.add_argument(
            f"--{name.replace('_', '-')}",
            metavar="SHARE",
            help=f"of the cases {meaning}: sets rewards.{name}",
        )
    made.add_argument(
        "--list",
        type=_count,
        default=1,
        metavar="N",
        help="errors shown of each kind (%(default)s)",
    )
    made.add_argument("--json", action="store_true", help="everything as one JSON object")
    return made


def _count(text: str) -> int:
    """The number, 0 or more; raises argparse.ArgumentTypeError for anything else."""
    if text.isascii() and text.isdigit():
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")


def _write(path: Path, cases: Sequence[Labelled]) -> None:
    """As `tasks.labelled` reads them: a question or a kind that is not there is left out."""
    rows = []
    for case in cases:
        more = {"question": case.problem.question, "kind": case.kind}
        rows.append(
            {
                **case.problem.extra,
                "id": case.problem.id,
                "answer": case.problem.answer,
                "completion": case.completion,
                "label": "right" if case.right else "wrong",
                **{name: text for name, text in more.items() if text},
            }
        )
    try:
        write_whole(path, "".join(json.dumps(row, default=str) + "\n" for row in rows))
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}.") from None


def _print_json(found: Audit) -> None:
    """The audit as one JSON object on the standard output."""
    positive, negative = found.rates
    whole: dict[str, Any] = {
        **dataclasses.asdict(found.total),
        "false_positive_rate": positive,
        "false_negative_rate": negative,
        "kinds": {kind: dataclasses.asdict(tally) for kind, tally in found.kinds.items()},
        "findings": {
            "false_positives": [finding.row() for finding in found.false_positives],
            "false_negatives": [finding.row() for finding in found.false_negatives],
            "faults": [finding.row() for finding in found.faults],
        },
    }
    Console().out(json.dumps(whole), highlight=False)


def _show(found: Audit, most: int) -> None:
    console = Console()
    table = Table(title="what the reward makes of labelled completions", title_justify="left")
    table.add_column("kind")
    headings = ("right", "wrong", "false positives", "false negatives", "not judged")
    for heading in headings:
        table.add_column(heading, justify="right")
    for kind, tally in found.kinds.items():
        cells = dataclasses.astuple(tally)
        table.add_row(
            Text(_printable(console, kind)), *(f"{count:,}" if count else "" for count in cells)
        )
    table.add_section()
    table.add_row("all", *(f"{count:,}" for count in dataclasses.astuple(found.total)))
    positive, negative = found.rates
    table.add_row("share", "", "", f"{positive:.2%}", f"{negative:.2%}", "")
    console.print(table)
    sorts = {
        "false positives": found.false_positives,
        "false negatives": found.false_negatives,
        "not judged": found.faults,
    }
    for name, findings in sorts.items():
        _list(console, name, findings, most=most)


def _list(console: Console, name: str, findings: Sequence[Finding], *, most: int) -> None:
    """At most so many of each kind."""
    seen: Counter[str] = Counter()
    for finding in findings:
        seen[finding.case.kind] += 1
        if seen[finding.case.kind] <= most:
            told = f"\n{name}: {finding.told()}\n{finding.case.completion}"
            console.out(_printable(console, told), highlight=False)
    if hidden := sum(max(0, count - most) for count in seen.values()):
        console.out(f"\n... and {hidden} more {name} of these kinds (--list N, --json)")


def _printable(console: Console, text: str) -> str:
    """The text, with what the terminal cannot show as escapes: lone surrogates, for one."""
    return text.encode(console.encoding, "backslashreplace").decode(console.encoding)
