"""The answer line holds an answer and nothing else."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reft_megatron.ops.extractor import TRIGGER
from reft_megatron.rewards.answer_line import read_answer
from reft_megatron.rewards.compare import Outcome
from reft_megatron.types import Reason

NUMBERS = {
    "203": 203.0,
    " 203. ": 203.0,
    "-203": -203.0,
    "+203": 203.0,
    "\u2212203": -203.0,
    "$203": 203.0,
    "-$203": -203.0,
    "$-203": -203.0,
    "$ 1,203.50.": 1203.5,
    "1,234,567": 1234567.0,
    "8%": 8.0,
    "8 %.": 8.0,
    ".5": 0.5,
    "2.03e2": 203.0,
    "\n203\n": 203.0,
}
NONE = [
    *("203 or 204", "204 or 203", "203, 204", "203 204", "203\n204", "203, no, 204", "1,2", "20,3"),
    *("not 203", "minus 203", "about 203", "~203", "<203", "--203", "-$-203", "+-203"),
    *("203 million", "203k", "203 1/2", "203 and 1/2", "406/2", "203+1", "203*2", "203!"),
    *("203 = 5", "5 = 203", "x = 203", "203 dollars", "203 (not 204)", "[203]", "<203>"),
    *("203_0", "2 03", "203:00", "203 %%", "0x203", "True", "two", "\u0662\u0660\u0663"),
    *("1,2034", "1234,567", ",203", "$", "%", ".", "-", "e5", "9" * 401),
]


@pytest.mark.parametrize("answer", NUMBERS)
def test_a_number_may_bring_its_marks(answer: str) -> None:
    assert read_answer(f"So 7.{TRIGGER}{answer}", "number") == Outcome(value=NUMBERS[answer])


@pytest.mark.parametrize("answer", NONE)
def test_what_is_more_or_other_than_a_number_is_no_answer(answer: str) -> None:
    found = read_answer(f"So 203.{TRIGGER}{answer}", "number")
    assert found == Outcome(failure=Reason.NON_NUMERIC)


@pytest.mark.parametrize("text", ["", "203", "The answer is 203", f"203{TRIGGER}", f"{TRIGGER} \n"])
def test_a_missing_answer_line_is_no_solution(text: str) -> None:
    for kind in ("number", "letter"):
        assert read_answer(text, kind) == Outcome(failure=Reason.NO_SOLUTION)


def test_the_last_line_counts() -> None:
    assert read_answer(f"{TRIGGER}5{TRIGGER}203", "number").value == 203.0
    assert read_answer(f"{TRIGGER}203{TRIGGER}5", "number").value == 5.0
    assert read_answer(f"{TRIGGER}203\n\nSo the answer is 5", "number").value is None


@pytest.mark.parametrize(("answer", "value"), [("inf", math.inf), ("-Infinity", -math.inf)])
def test_infinities_are_told_apart_from_no_number(answer: str, value: float) -> None:
    assert read_answer(TRIGGER + answer, "number").value == value
    assert math.isnan(read_answer(TRIGGER + "nan", "number").value)
    assert read_answer(TRIGGER + "1e999", "number").value == math.inf


def test_letters() -> None:
    for answer in ("b", "B", "b.", "(b)", "b)", "b ) ", '"b"', "'B'"):
        assert read_answer(TRIGGER + answer, "letter").value in ("b", "B"), answer
    for answer in ("b or c", "not b", "a number", "b ) 203", "bb", "5", "b c", "-b"):
        assert read_answer(TRIGGER + answer, "letter").failure is Reason.NON_NUMERIC, answer


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_what_python_writes_is_read_to_the_bit(number: float) -> None:
    assert read_answer(f"{TRIGGER}{number!r}", "number").value == number


@given(st.integers(-(10**18), 10**18), st.integers(0, 9))
def test_thousands_are_grouped_by_commas(number: int, digit: int) -> None:
    assert read_answer(f"{TRIGGER}${number:,}.{digit}", "number").value == float(
        f"{number}.{digit}"
    )
