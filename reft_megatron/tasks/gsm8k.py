"""GSM8K as its authors publish it: JSON Lines of `question` and `answer`.

An answer is a solution with calculator annotations, `48/2 = <<48/2=24>>24 clips`, then a last line
`#### 72`. Owns taking it apart; turning solutions into programs belongs to `gsm8k_programs`.
"""

from __future__ import annotations

import re

from reft_megatron.tasks.gold import gold_answer
from reft_megatron.tasks.records import Record
from reft_megatron.types import Form, Problem

__all__ = ["SOURCE", "problem_from_line", "solution_and_answer"]

SOURCE = "GSM8K's train.jsonl and test.jsonl are in github.com/openai/grade-school-math."
"""Where to get the data; closes the messages about bad files."""

_MARK = "####"
_ANNOTATION = re.compile("<<.*?>>")


def problem_from_line(record: Record, cot_form: Form | None) -> Problem:
    """The problem of one line; its id is `gsm8k_<line, from 0>`, as in the authors' test set.

    The natural-language chain of thought is the solution without annotations; `cot_form` None
    leaves it out.

    Raises:
        DataError: a field is missing or malformed, or programs are asked of a file without any.
    """
    if cot_form == "program":
        raise record.error(
            "answer",
            "is a solution in words, but task.form is program: turn the file into programs with "
            "`python tools/prepare_gsm8k.py --input train.jsonl --output gsm8k_programs.json` "
            "and set task.train to its output",
        )
    solution, answer = solution_and_answer(record)
    return Problem(
        id=f"gsm8k_{record.index}",
        question=record.text("question"),
        answer=answer,
        cot=_ANNOTATION.sub("", solution) if cot_form else "",
    )


def solution_and_answer(record: Record) -> tuple[str, str]:
    """The annotated solution and the gold number, without commas, of one line."""
    solution, mark, answer = record.text("answer").rpartition(_MARK)
    if not mark:
        raise record.error("answer", f"has no line '{_MARK} <number>' at its end")
    return solution.strip(), gold_answer(record, "answer", answer.strip(), kind="number")
