"""What a completion yielded, and whether it equals the gold answer.

Owns the value between extraction and comparison, the tolerance, the normal form of letters, and the
verdict on an outcome, in the corrected form and in the reference's. Never runs anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from reft_megatron.errors import DataError
from reft_megatron.types import AnswerKind, Reason, Verdict

__all__ = [
    "OPTIONS",
    "TOLERANCE",
    "Outcome",
    "as_letter",
    "as_number",
    "compare",
    "compare_as_reference",
    "same",
]

TOLERANCE = 1e-2
"""Numbers this close are equal (train_rl_reft.py:54-76)."""

OPTIONS = frozenset("abcde")
"""Letters of the options of a multiple-choice question (MathQA has five)."""

_TEXT_LIMIT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An extracted value, or the reason why there is none."""

    failure: Reason | None = None
    """Why there is no value; None if there is one."""
    value: float | str | None = None
    """The value: a number (perhaps not finite), or text where text was asked for."""
    detail: str = ""
    """Type of the exception or of the result; which limit; what broke in an executor fault."""


def as_number(text: str) -> float | None:
    """Python's float() of the text, or None where that raises."""
    try:
        return float(text)
    except ValueError:
        return None


def as_letter(text: str) -> str:
    """Normal form of a multiple-choice answer: lower case, no quotes, stripped."""
    return text.lower().replace('"', "").replace("'", "").strip()


def same(a: float | str, b: float | str) -> bool:
    """True if two answers are equal: letters exactly, numbers within `TOLERANCE`."""
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    return abs(a - b) <= TOLERANCE


def compare(outcome: Outcome, gold: str, kind: AnswerKind) -> Verdict:
    """The verdict on one outcome. A number must be finite, a letter one of the options a-e.

    Raises DataError if `gold` is not an answer of this kind.
    """
    wanted = _gold(gold, kind)
    if outcome.failure is not None:
        return Verdict(reason=outcome.failure, detail=outcome.detail)
    value = as_letter(outcome.value) if isinstance(outcome.value, str) else outcome.value
    if isinstance(value, str) != (kind == "letter") or value is None:
        return Verdict(reason=Reason.NON_NUMERIC, detail=outcome.detail)
    if isinstance(value, str):
        if value not in OPTIONS:
            return Verdict(reason=Reason.NON_NUMERIC, detail=outcome.detail)
    elif not math.isfinite(value):
        return Verdict(reason=Reason.NON_FINITE, detail=outcome.detail)
    reason = Reason.CORRECT if same(value, wanted) else Reason.WRONG_VALUE
    return Verdict(reason=reason, value=value, detail=outcome.detail)


def compare_as_reference(outcome: Outcome, gold: str, kind: AnswerKind) -> Verdict:
    """The verdict that gives the reference's reward.

    NaN and infinities are extracted values. A letter is whatever text came out, and a program that
    failed yields the text `none`, so a wrong letter is never reward 0 (train_rl_reft.py:298-316).
    An executor fault stays one.
    """
    wanted = _gold(gold, kind)
    if outcome.failure is Reason.EXECUTOR_FAULT:
        return Verdict(reason=outcome.failure, detail=outcome.detail)
    value, detail = outcome.value, outcome.detail
    if kind == "letter":
        detail = str(outcome.failure or detail)
        value = as_letter(str(value))
    if value is None:
        return Verdict(reason=outcome.failure or Reason.NON_NUMERIC, detail=detail)
    reason = Reason.CORRECT if same(value, wanted) else Reason.WRONG_VALUE
    kept = value[:_TEXT_LIMIT] if isinstance(value, str) else value
    return Verdict(reason=reason, value=kept, detail=detail)


def _gold(text: str, kind: AnswerKind) -> float | str:
    if kind == "letter":
        letter = as_letter(text)
        if len(letter) == 1:
            return letter
    else:
        number = as_number(text.replace(",", ""))
        if number is not None and math.isfinite(number):
            return number
    raise DataError(f"a gold answer must be a {kind}, saw {text!r}; correct the data file.")
