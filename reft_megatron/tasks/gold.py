"""Gold answers: which task has which kind, and their one spelling.

Owns the normalisation of gold answers. Comparing with a model's answer belongs to `rewards`.
"""

from __future__ import annotations

import math
import re

from reft_megatron.config import TaskConfig
from reft_megatron.tasks.records import Record
from reft_megatron.types import AnswerKind

__all__ = ["KINDS", "answer_kind", "gold_answer", "stated_answer"]

KINDS: dict[str, AnswerKind] = {
    "arithmetic": "number",
    "gsm8k": "number",
    "svamp": "number",
    "mathqa": "letter",
    "mathqa-numeric": "number",
}
"""Kind of gold answer of each task (mwp_ReFT, train_rl_reft.py lines 54-76)."""


def answer_kind(config: TaskConfig) -> AnswerKind:
    """Kind of the gold answers of the task that `config` names."""
    return config.answers if config.name == "custom" else KINDS[config.name]


def stated_answer(record: Record, field: str, *, kind: AnswerKind) -> str:
    """The gold answer in `field`, a JSON number or text, in its one spelling.

    Raises DataError as `gold_answer` does; any text but a blank one is an answer of the kind text.
    """
    value = record.fields.get(field)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    text = repr(value) if number else record.text(field)
    return text if kind == "text" else gold_answer(record, field, text, kind=kind)


def gold_answer(record: Record, field: str, text: str, *, kind: AnswerKind) -> str:
    """`text`, read from `field`, as a number without commas or one lower-case letter.

    Raises:
        DataError: it is neither a finite number nor a letter from a to e, as `kind` asks.
    """
    if kind == "letter":
        if re.fullmatch("[a-eA-E]", text):
            return text.lower()
        raise record.error(field, f"holds the answer {text!r}; wanted one letter from a to e")
    number = text.replace(",", "")
    try:
        finite = math.isfinite(float(number))
    except ValueError:
        finite = False
    if finite:
        return number
    raise record.error(field, f"holds the answer {text!r}; wanted a finite number")
