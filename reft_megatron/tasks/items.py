"""Items of the JSON lists of the authors' repository (mwp_ReFT) and of ours.

An item holds `item_id`, `question`, `answer_value` and, for training, `answer_cot`: strings all.
Owns what these fields must look like; files are read by `records`.
"""

from __future__ import annotations

import re

from reft_megatron.tasks.gold import KINDS, gold_answer
from reft_megatron.tasks.records import Record
from reft_megatron.types import Form, Problem

__all__ = ["problem_from_item"]

PROGRAM_START = "def solution():"


def problem_from_item(record: Record, task: str, cot_form: Form | None) -> Problem:
    """The problem of one item of `task`; `cot_form` None leaves its chain of thought out.

    Raises:
        DataError: a field is missing or malformed, or the item belongs to another task.
    """
    return Problem(
        id=_item_id(record, task),
        question=record.text("question"),
        answer=gold_answer(record, "answer_value", record.text("answer_value"), kind=KINDS[task]),
        cot=_chain_of_thought(record, cot_form) if cot_form else "",
    )


def _item_id(record: Record, task: str) -> str:
    item_id = record.text("item_id")
    match = re.fullmatch(r"([^_]+)_\d+", item_id)
    if match is None:
        wanted = f"wanted <task>_<integer>, such as '{task}_12'"
        raise record.error("item_id", f"is {item_id!r}; {wanted}")
    if match[1] != task:
        raise record.error("item_id", f"is {item_id!r}, of another task than task.name={task}")
    return item_id


def _chain_of_thought(record: Record, form: Form) -> str:
    cot = record.text("answer_cot")
    seen: Form = "program" if cot.startswith(PROGRAM_START) else "nl"
    if seen != form:
        raise record.error("answer_cot", f"has the form {seen}, but task.form is {form}")
    return cot
