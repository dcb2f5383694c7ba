"""Items of the authors' JSON lists."""

from __future__ import annotations

import pytest

from reft_megatron.errors import DataError
from reft_megatron.tasks.items import problem_from_item
from reft_megatron.tasks.records import Record
from reft_megatron.types import Form, Problem

PROGRAM = 'def solution():\n    """Ann has 2 figs. How many?"""\n    result = 2\n    return result'
ITEM = {
    "item_id": "svamp_12",
    "question": " Ann has 2 figs. How many? ",
    "answer_cot": PROGRAM + "\n",
    "answer_value": "2.0",
}


def record(**changes: object) -> Record:
    return Record(place="f: item 3", index=3, fields=ITEM | changes, remedy="Ask.")


def test_a_training_item() -> None:
    assert problem_from_item(record(), "svamp", "program") == Problem(
        id="svamp_12", question="Ann has 2 figs. How many?", answer="2.0", cot=PROGRAM
    )


def test_a_test_item_needs_no_chain_of_thought() -> None:
    assert problem_from_item(record(answer_cot=None), "svamp", None) == Problem(
        id="svamp_12", question="Ann has 2 figs. How many?", answer="2.0"
    )


def test_the_source_of_an_id_may_hold_a_hyphen() -> None:
    problem = problem_from_item(record(item_id="mathqa-numeric_7"), "mathqa-numeric", None)
    assert problem.id == "mathqa-numeric_7"


@pytest.mark.parametrize(
    ("changes", "form", "complaint"),
    [
        (
            {"item_id": "svamp12"},
            "program",
            "'item_id' is 'svamp12'; wanted <task>_<integer>, such as 'svamp_12'",
        ),
        (
            {"item_id": "svamp_1_2"},
            "program",
            "'item_id' is 'svamp_1_2'; wanted <task>_<integer>, such as 'svamp_12'",
        ),
        (
            {"item_id": "mathqa_12"},
            "program",
            "'item_id' is 'mathqa_12', of another task than task.name=svamp",
        ),
        ({"item_id": 12}, "program", "'item_id' is 12; wanted a string"),
        ({"question": ""}, "program", "'question' is blank; wanted text"),
        (
            {"answer_value": "b"},
            "program",
            "'answer_value' holds the answer 'b'; wanted a finite number",
        ),
        ({}, "nl", "'answer_cot' has the form program, but task.form is nl"),
        (
            {"answer_cot": "It is 2."},
            "program",
            "'answer_cot' has the form nl, but task.form is program",
        ),
    ],
)
def test_a_bad_item_is_named(changes: dict[str, object], form: Form, complaint: str) -> None:
    with pytest.raises(DataError) as caught:
        problem_from_item(record(**changes), "svamp", form)
    assert str(caught.value) == f"f: item 3: field {complaint}. Ask."
