"""The answer in a natural-language completion.

Owns the trigger line and what is stripped from around a number or a letter.
"""

from __future__ import annotations

from reft_megatron.rewards.compare import as_number
from reft_megatron.rewards.outcome import Outcome
from reft_megatron.types import AnswerKind, Reason

__all__ = ["ANSWER_TRIGGER", "read_answer", "read_answer_as_reference"]

ANSWER_TRIGGER = "\nTherefore, the answer is: "
"""What precedes the answer, byte for byte (train_rl_reft.py:49-51); its last occurrence counts."""

_ORNAMENTS = str.maketrans("", "", ",$%")


def read_answer(text: str, kind: AnswerKind) -> Outcome:
    """The answer after the last trigger; `,`, `$`, `%` and a final full stop do not matter.

    No trigger is no solution. What is left must be one number, or one letter.
    """
    _, trigger, answer = text.rpartition(ANSWER_TRIGGER)
    if not trigger:
        return Outcome(failure=Reason.NO_SOLUTION)
    answer = answer.strip().removesuffix(".")
    if kind == "letter":
        return Outcome(value=answer)
    value = as_number(answer.translate(_ORNAMENTS).removesuffix("."))
    return Outcome(value=value) if value is not None else Outcome(failure=Reason.NON_NUMERIC)


def read_answer_as_reference(text: str, kind: AnswerKind) -> Outcome:
    """The answer as the reference reads it: no ornament is forgiven (train_rl_reft.py:54-76).

    Without a trigger the whole text is the answer.
    """
    answer = text.rpartition(ANSWER_TRIGGER)[-1].strip()
    if kind == "letter":
        return Outcome(value=answer)
    value = as_number(answer)
    return Outcome(value=value) if value is not None else Outcome(failure=Reason.NON_NUMERIC)
