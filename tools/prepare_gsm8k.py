"""GSM8K's annotated solutions turned into verified program chains of thought.

Owns executing the drafts of `reft_megatron.tasks.gsm8k_programs`, keeping those whose value equals
the gold answer, and telling what became of the rest. The output is a JSON list in the format of the
authors' program data: `item_id`, `question`, `answer_cot`, `answer_value`.

Try it: `python tools/prepare_gsm8k.py --input train.jsonl --output gsm8k_programs.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from reft_megatron.config import RewardConfig
from reft_megatron.errors import DataError, ReftError
from reft_megatron.files import write_whole
from reft_megatron.rewards import Judge
from reft_megatron.tasks.gsm8k import SOURCE, solution_and_answer
from reft_megatron.tasks.gsm8k_programs import Draft, draft_program
from reft_megatron.tasks.records import Record, read_records
from reft_megatron.types import Verdict

_BATCH = 256

_HELP = """\
examples:
  python tools/prepare_gsm8k.py --input train.jsonl --output gsm8k_programs.json
  reft-megatron sft task.name=gsm8k task.form=program task.train=gsm8k_programs.json \\
      task.test=test.jsonl

Each annotated step of a solution becomes an assignment:
  48/2 = <<48/2=24>>24 clips in May      becomes      clips_may = friends_april / 2
Every program runs in an isolated worker; only those that give the gold answer are kept.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status: 1, with a message, for bad input."""
    options = _parser().parse_args(arguments)
    try:
        _prepare(options.input, Path(options.output), Console())
    except (ReftError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _prepare(source: str, output: Path, console: Console) -> None:
    if not output.parent.is_dir():
        raise DataError(f"{output.parent}: no such folder; create it, or name another --output")
    records = read_records(source, SOURCE)
    answers = [solution_and_answer(record)[1] for record in records]
    drafts = [_draft(record) for record in records]
    verdicts = _execute(drafts, answers, console)
    items = [
        _item(record, draft, answer)
        for record, draft, answer, verdict in zip(records, drafts, answers, verdicts, strict=True)
        if verdict is not None and verdict.correct
    ]
    _write(output, items)
    console.print(_report(drafts, verdicts))
    share = len(items) / len(records)
    print(f"{len(items)} of {len(records)} ({share:.1%}) are verified programs, now in {output}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Turn GSM8K's annotated solutions into verified program chains of thought.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--input", required=True, help=f"train.jsonl of GSM8K. {SOURCE}")
    parser.add_argument("--output", required=True, help="JSON list to write; set task.train to it")
    return parser


def _draft(record: Record) -> Draft:
    return draft_program(record.text("question"), *solution_and_answer(record))


def _execute(
    drafts: Sequence[Draft], answers: Sequence[str], console: Console
) -> list[Verdict | None]:
    """The verdict on each draft, None where there is no program."""
    rows = [row for row, draft in enumerate(drafts) if draft.program]
    verdicts: list[Verdict | None] = [None] * len(drafts)
    batches = [rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]
    with Judge(form="program", kind="number", config=RewardConfig(), parity="correct") as judge:
        for batch in track(batches, description="Executing programs", console=console):
            judged = judge.judge([(drafts[row].program, answers[row]) for row in batch])
            for row, verdict in zip(batch, judged, strict=True):
                verdicts[row] = verdict
    return verdicts


def _item(record: Record, draft: Draft, answer: str) -> dict[str, str]:
    return {
        "item_id": f"gsm8k_{record.index}",
        "question": record.text("question"),
        "answer_cot": draft.program,
        "answer_value": answer,
    }


def _write(path: Path, items: Sequence[dict[str, str]]) -> None:
    write_whole(path, json.dumps(items, indent=1, ensure_ascii=False))


def _report(drafts: Sequence[Draft], verdicts: Sequence[Verdict | None]) -> Table:
    """How many solutions were kept, and why the others were not."""
    counts = Counter(
        ("kept" if verdict is not None and verdict.correct else "dropped", _why(draft, verdict))
        for draft, verdict in zip(drafts, verdicts, strict=True)
    )
    table = Table("", "why", "solutions", title="GSM8K solutions as programs")
    for (fate, why), count in sorted(
        counts.items(), key=lambda row: (row[0][0] != "kept", -row[1])
    ):
        table.add_row(fate, why, str(count))
    return table


def _why(draft: Draft, verdict: Verdict | None) -> str:
    if verdict is None or verdict.correct:
        return draft.outcome
    return f"program executed: {verdict.reason} {verdict.detail}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
