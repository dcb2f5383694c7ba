"""Gold answers."""

from __future__ import annotations

import pytest

from reft_megatron.errors import DataError
from reft_megatron.tasks.gold import gold_answer
from reft_megatron.tasks.records import Record
from reft_megatron.types import AnswerKind

RECORD = Record(place="f: item 3", index=3, fields={}, remedy="Ask.")


@pytest.mark.parametrize(
    ("kind", "text", "answer"),
    [
        ("number", "72", "72"),
        ("number", "1,575,000", "1575000"),
        ("number", "203.0", "203.0"),
        ("number", "-0.5", "-0.5"),
        ("letter", "c", "c"),
        ("letter", "E", "e"),
    ],
)
def test_answers_have_one_spelling(kind: AnswerKind, text: str, answer: str) -> None:
    assert gold_answer(RECORD, "answer_value", text, kind=kind) == answer


@pytest.mark.parametrize(
    ("kind", "text", "wanted"),
    [
        ("number", "five", "a finite number"),
        ("number", "nan", "a finite number"),
        ("number", "1/2", "a finite number"),
        ("letter", "f", "one letter from a to e"),
        ("letter", "38.0", "one letter from a to e"),
    ],
)
def test_a_bad_answer_is_named(kind: AnswerKind, text: str, wanted: str) -> None:
    with pytest.raises(DataError) as caught:
        gold_answer(RECORD, "answer_value", text, kind=kind)
    assert str(caught.value) == (
        f"f: item 3: field 'answer_value' holds the answer {text!r}; wanted {wanted}. Ask."
    )
