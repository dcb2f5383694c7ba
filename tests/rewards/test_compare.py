"""Comparison with the gold answer, and the verdict on an outcome."""

from __future__ import annotations

import math

import pytest

from reft_megatron.errors import DataError
from reft_megatron.rewards.compare import (
    Outcome,
    as_letter,
    as_number,
    compare,
    compare_as_reference,
    same,
)
from reft_megatron.types import AnswerKind, Reason, Verdict


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (3, 3.0, True),
        (0.004, 0.0, True),  # the tolerance is absolute
        (0.01, 0.0, True),
        (0.0101, 0.0, False),
        (1e20, 1e20 + 20000, False),
        (math.nan, math.nan, False),
        (math.inf, math.inf, False),
        ("a", "a", True),
        ("a", "b", False),
        ("1", 1.0, False),
    ],
)
def test_same(a: float | str, b: float | str, equal: bool) -> None:
    assert same(a, b) is equal


def test_normal_forms() -> None:
    assert as_number("1_000") == 1000.0
    assert as_number("1,000") is None
    assert as_letter(" \"C'\n") == "c"


@pytest.mark.parametrize(
    ("outcome", "gold", "verdict"),
    [
        (Outcome(value=3.0), "3", Verdict(reason=Reason.CORRECT, value=3.0)),
        (Outcome(value=1234.0), "1,234", Verdict(reason=Reason.CORRECT, value=1234.0)),
        (Outcome(value=3.0), "4", Verdict(reason=Reason.WRONG_VALUE, value=3.0)),
        (Outcome(value=math.nan), "4", Verdict(reason=Reason.NON_FINITE)),
        (Outcome(value=-math.inf), "4", Verdict(reason=Reason.NON_FINITE)),
        (Outcome(value="4"), "4", Verdict(reason=Reason.NON_NUMERIC)),
        (Outcome(), "4", Verdict(reason=Reason.NON_NUMERIC)),
        (
            Outcome(failure=Reason.RUNTIME_ERROR, detail="KeyError"),
            "4",
            Verdict(reason=Reason.RUNTIME_ERROR, detail="KeyError"),
        ),
    ],
)
def test_numbers(outcome: Outcome, gold: str, verdict: Verdict) -> None:
    assert compare(outcome, gold, "number") == verdict


@pytest.mark.parametrize(
    ("outcome", "right", "as_reference"),
    [
        # outcome, verdict, and the reference's verdict; the gold answer is "b"
        (Outcome(value="'B'"), (Reason.CORRECT, "b"), (Reason.CORRECT, "b")),
        (Outcome(value="a"), (Reason.WRONG_VALUE, "a"), (Reason.WRONG_VALUE, "a")),
        (Outcome(value="f"), (Reason.NON_NUMERIC, None), (Reason.WRONG_VALUE, "f")),
        (Outcome(value=""), (Reason.NON_NUMERIC, None), (Reason.WRONG_VALUE, "")),
        (Outcome(value="b)"), (Reason.NON_NUMERIC, None), (Reason.WRONG_VALUE, "b)")),
        (Outcome(value="None"), (Reason.NON_NUMERIC, None), (Reason.WRONG_VALUE, "none")),
        (Outcome(value="2"), (Reason.NON_NUMERIC, None), (Reason.WRONG_VALUE, "2")),
        (Outcome(value=2.0), (Reason.NON_NUMERIC, None), (Reason.WRONG_VALUE, "2.0")),
        (
            Outcome(failure=Reason.TIMEOUT),
            (Reason.TIMEOUT, None),
            (Reason.WRONG_VALUE, "none"),
        ),
        (
            Outcome(failure=Reason.EXECUTOR_FAULT),
            (Reason.EXECUTOR_FAULT, None),
            (Reason.EXECUTOR_FAULT, None),
        ),
    ],
)
def test_letters(outcome: Outcome, right: object, as_reference: object) -> None:
    verdict = compare(outcome, "B", "letter")
    assert (verdict.reason, verdict.value) == right
    verdict = compare_as_reference(outcome, "B", "letter")
    assert (verdict.reason, verdict.value) == as_reference


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_reference_extracts_what_is_not_finite(value: float) -> None:
    verdict = compare_as_reference(Outcome(value=value), "4", "number")
    assert verdict.reason is Reason.WRONG_VALUE


def test_reference_keeps_numeric_failures() -> None:
    verdict = compare_as_reference(Outcome(failure=Reason.MEMORY), "4", "number")
    assert verdict == Verdict(reason=Reason.MEMORY)


@pytest.mark.parametrize(
    ("gold", "kind"), [("", "number"), ("nan", "number"), ("x", "number"), ("ab", "letter")]
)
def test_bad_gold_answer(gold: str, kind: AnswerKind) -> None:
    message = f"a gold answer must be a {kind}, saw {gold!r}; correct the data file."
    for weigh in (compare, compare_as_reference):
        with pytest.raises(DataError) as error:
            weigh(Outcome(value=1.0), gold, kind)
        assert str(error.value) == message
