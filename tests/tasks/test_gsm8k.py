"""GSM8K's own format."""

from __future__ import annotations

import pytest

from reft_megatron.errors import DataError
from reft_megatron.tasks.gsm8k import problem_from_line, solution_and_answer
from reft_megatron.tasks.records import Record
from reft_megatron.types import Problem

SOLUTION = "She sold 48/2 = <<48/2=24>>24 in May.\nIn all 48+24 = $<<48+24=72>>72."
SPOKEN = "She sold 48/2 = 24 in May.\nIn all 48+24 = $72."


def line(answer: object) -> Record:
    fields = {"question": "How many?\n", "answer": answer}
    return Record(place="f: line 8", index=7, fields=fields, remedy="Ask.")


def test_the_natural_language_form_has_no_annotations() -> None:
    assert problem_from_line(line(SOLUTION + "\n#### 1,072"), "nl") == Problem(
        id="gsm8k_7", question="How many?", answer="1072", cot=SPOKEN
    )


def test_a_test_problem_has_no_chain_of_thought() -> None:
    assert problem_from_line(line(SOLUTION + "\n#### 72"), None) == Problem(
        id="gsm8k_7", question="How many?", answer="72"
    )


def test_the_annotations_stay_for_making_programs() -> None:
    assert solution_and_answer(line(SOLUTION + "\n#### 72")) == (SOLUTION, "72")


def test_programs_asked_of_the_original_file_point_to_the_tool() -> None:
    with pytest.raises(DataError) as caught:
        problem_from_line(line(SOLUTION + "\n#### 72"), "program")
    assert str(caught.value) == (
        "f: line 8: field 'answer' is a solution in words, but task.form is program: turn the "
        "file into programs with `python tools/prepare_gsm8k.py --input train.jsonl --output "
        "gsm8k_programs.json` and set task.train to its output. Ask."
    )


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (SOLUTION, "has no line '#### <number>' at its end"),
        (SOLUTION + "\n#### many", "holds the answer 'many'; wanted a finite number"),
        (SOLUTION + "\n####", "holds the answer ''; wanted a finite number"),
        (72, "is 72; wanted a string"),
    ],
)
def test_a_bad_line_is_named(answer: object, complaint: str) -> None:
    with pytest.raises(DataError) as caught:
        problem_from_line(line(answer), "nl")
    assert str(caught.value) == f"f: line 8: field 'answer' {complaint}. Ask."
