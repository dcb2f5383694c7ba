"""The face of a task."""

from __future__ import annotations

import dataclasses

import pytest

from reft_megatron.errors import DataError
from reft_megatron.tasks import Task
from reft_megatron.types import Problem


def made(number: int) -> Problem:
    return Problem(id=f"svamp_{number}", question=f"q{number}", answer="3", cot="It is 3.")


TASK = Task(
    name="svamp",
    form="nl",
    kind="number",
    parity="correct",
    train=(made(1), made(2)),
    dev=(),
    test=(made(3),),
)
TEST_ONLY = Task(
    name="mathqa",
    form="program",
    kind="letter",
    parity="correct",
    train=(),
    dev=(),
    test=(made(3),),
)


def test_problems_by_split() -> None:
    assert TASK.problems("train") == (made(1), made(2))
    assert TASK.problems("test") == (made(3),)


def test_a_dev_split_of_size_zero_is_empty() -> None:
    assert TASK.problems("dev") == ()


def test_an_unknown_split_is_named() -> None:
    with pytest.raises(DataError) as caught:
        TASK.problems("valid")
    assert str(caught.value) == "task svamp has no split 'valid'; take train, dev or test"


@pytest.mark.parametrize("split", ["train", "dev"])
def test_asking_a_split_without_file_says_what_to_set(split: str) -> None:
    with pytest.raises(DataError) as caught:
        TEST_ONLY.problems(split)
    assert str(caught.value) == (
        f"task mathqa has no {split} problems, because task.train is empty; "
        "set task.train to the path of a data file"
    )


def test_a_census_tells_what_is_left_out() -> None:
    assert TASK.census() == "2 train, 0 dev, 1 test"
    told = dataclasses.replace(TASK, twins=3).census()
    assert told == "2 train, 0 dev, 1 test; 3 left out of train, asked in dev too"


def test_texts_follow_the_form() -> None:
    assert TASK.prompt_text(made(1)) == "Question:\nq1\nAnswer reasoning:\n"
    assert TASK.supervised_text(made(1)) == (
        "Question:\nq1\nAnswer reasoning:\n",
        "It is 3.\nTherefore, the answer is: 3",
    )
    assert TEST_ONLY.prompt_text(made(3)) == (
        'Question:\nq3\nAnswer reasoning:\ndef solution():\n    """q3"""\n'
    )
    assert TASK.answer_text(made(1), "It is 3.") == "It is 3."


def test_the_gold_chain_as_a_completion() -> None:
    assert TASK.gold_completion(made(1)) == "It is 3.\nTherefore, the answer is: 3"
    program = 'def solution():\n    """q3"""\n    return 3'
    problem = dataclasses.replace(made(3), cot=program)
    assert TEST_ONLY.gold_completion(problem) == "    return 3"
    assert TEST_ONLY.prompt_text(problem) + "    return 3" == "".join(
        TEST_ONLY.supervised_text(problem)
    )
    otherwise = dataclasses.replace(problem, question="what is q3?")
    assert TEST_ONLY.gold_completion(otherwise) is None
