"""Reading the answer in natural language."""

from __future__ import annotations

import pytest

from reft_megatron.rewards.answer_text import (
    ANSWER_TRIGGER,
    read_answer,
    read_answer_as_reference,
)
from reft_megatron.rewards.outcome import Outcome
from reft_megatron.types import Reason

NO = Outcome(failure=Reason.NO_SOLUTION)
BAD = Outcome(failure=Reason.NON_NUMERIC)


def value(number: float) -> Outcome:
    return Outcome(value=number)


@pytest.mark.parametrize(
    ("answer", "right", "as_reference"),
    [
        ("18", value(18), value(18)),
        (" 18 \n", value(18), value(18)),
        ("18.", value(18), value(18)),
        ("18.5.", value(18.5), BAD),
        ("1,000", value(1000), BAD),
        ("$18", value(18), BAD),
        ("$ 1,234.50", value(1234.5), BAD),
        ("18%", value(18), BAD),
        ("18%.", value(18), BAD),
        ("18 %", value(18), BAD),
        (".5", value(0.5), value(0.5)),
        ("-3", value(-3), value(-3)),
        ("1_000", value(1000), value(1000)),
        ("1e3", value(1000), value(1000)),
        ("inf", value(float("inf")), value(float("inf"))),
        ("\u0663", value(3), value(3)),
        ("1/2", BAD, BAD),
        ("<5>.", BAD, BAD),
        ("5 apples", BAD, BAD),
        ("5 6", BAD, BAD),
        ("", BAD, BAD),
        ("c", BAD, BAD),
    ],
)
def test_numbers(answer: str, right: Outcome, as_reference: Outcome) -> None:
    text = f"We add.{ANSWER_TRIGGER}{answer}"
    assert read_answer(text, "number") == right
    assert read_answer_as_reference(text, "number") == as_reference


def test_last_trigger_counts() -> None:
    text = f"First{ANSWER_TRIGGER}4\nNo:{ANSWER_TRIGGER}5"
    assert read_answer(text, "number") == read_answer_as_reference(text, "number") == value(5)


@pytest.mark.parametrize("text", ["", "The answer is 5.", "Therefore, the answer is: 5", "5"])
def test_no_trigger(text: str) -> None:
    assert read_answer(text, "number") == NO
    assert read_answer(text, "letter") == NO


def test_reference_takes_the_whole_text_without_a_trigger() -> None:
    assert read_answer_as_reference("5", "number") == value(5)
    assert read_answer_as_reference("it is five", "number") == BAD
    assert read_answer_as_reference("it is b", "letter") == Outcome(value="it is b")


@pytest.mark.parametrize(
    ("answer", "right"), [("c", "c"), ("C.", "C"), (" c\n", "c"), ("c)", "c)"), ("", "")]
)
def test_letters(answer: str, right: str) -> None:
    text = f"We choose.{ANSWER_TRIGGER}{answer}"
    assert read_answer(text, "letter") == Outcome(value=right)
    assert read_answer_as_reference(text, "letter") == Outcome(value=answer.strip())
