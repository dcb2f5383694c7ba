"""Tests of the generated arithmetic task: splits, programs, documents."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Callable

import pytest

from reft_megatron.errors import DataError
from reft_megatron.tasks import arithmetic
from reft_megatron.tasks.arithmetic import documents, problems
from reft_megatron.types import Problem

ASCII_LINE = re.compile(r"[ -@\[-~]+")  # printable ASCII without capitals


def run(program: str) -> float:
    """Execute a trusted program and return what `solution()` returns."""
    space: dict[str, Callable[[], float]] = {}
    exec(program, space)
    return space["solution"]()


@pytest.fixture(scope="module")
def train() -> tuple[Problem, ...]:
    return problems("train", count=4000, seed=0)


def test_every_gold_program_gives_the_gold_answer(train: tuple[Problem, ...]) -> None:
    for problem in train:
        assert run(problem.cot) == int(problem.answer) > 0, problem


def test_a_program_opens_with_the_question_and_ends_with_the_result(
    train: tuple[Problem, ...],
) -> None:
    for problem in train:
        head = f'def solution():\n    """{problem.question}"""\n'
        assert problem.cot.startswith(head)
        *_, result, final = problem.cot.split("\n")
        assert result.startswith("    result = ")
        assert final == "    return result"


def test_texts_are_lower_case_ascii_without_blank_lines(train: tuple[Problem, ...]) -> None:
    for problem in train:
        assert ASCII_LINE.fullmatch(problem.question)
        assert all(ASCII_LINE.fullmatch(line) for line in problem.cot.split("\n"))


def test_given_numbers_are_whole_words_under_a_hundred(train: tuple[Problem, ...]) -> None:
    for problem in train:
        numbers = re.findall(r"\d+", problem.question)
        assert numbers
        assert numbers == re.findall(r"(?<= )[1-9]\d?(?=[ .,?])", problem.question)


def test_splits_share_no_question_and_no_id() -> None:
    splits = [problems(name, count=1500, seed=seed) for seed, name in enumerate(arithmetic.SPLITS)]
    for one, other in itertools.combinations(splits, 2):
        assert not {p.question for p in one} & {p.question for p in other}
        assert not {p.id for p in one} & {p.id for p in other}
    for split in splits:
        assert len({p.id for p in split}) == len({p.question for p in split}) == 1500
        assert all(re.fullmatch(r"arithmetic_\d+", p.id) for p in split)


def test_documents_ask_no_question_of_a_split(train: tuple[Problem, ...]) -> None:
    asked = {prefix.split("\n")[1] for prefix, _ in documents(count=2000, seed=0)}
    for name in arithmetic.SPLITS:
        assert not asked & {p.question for p in problems(name, count=2000, seed=0)}


def test_a_bigger_count_extends_a_smaller_one(train: tuple[Problem, ...]) -> None:
    assert problems("train", count=100, seed=0) == train[:100]
    assert problems("train", count=100, seed=1) != train[:100]
    whole = list(documents(count=30, seed=5))
    assert list(documents(count=10, seed=5, start=20)) == whole[20:]


def test_a_document_is_a_prompt_and_a_program_of_numbers_of_its_question() -> None:
    for prompt, program in documents(count=2000, seed=3):
        question = prompt.split("\n")[1]
        assert prompt == f"Question:\n{question}\nAnswer reasoning:\n"
        head = f'def solution():\n    """{question}"""\n'
        assert program.startswith(head)
        assert program.endswith("\n    return result")
        body = program.removeprefix(head)
        assert set(re.findall(r"(?<= = )\d+", body)) <= set(re.findall(r"\d+", question))
        made = re.findall(r"^ +(\w+) = ", body, flags=re.MULTILINE)
        assert len(made) == len(set(made))
        used = {node.id for node in ast.walk(ast.parse(program)) if isinstance(node, ast.Name)}
        assert used == set(made)


def test_right_documents_give_whole_positive_answers() -> None:
    answers = [run(program) for _, program in documents(count=500, seed=0, right=1.0)]
    assert all(answer == int(answer) > 0 for answer in answers)


def test_other_documents_use_every_operation_alike_whatever_the_question_asks() -> None:
    made = documents(count=3000, seed=0, right=0.0)
    asked_to_lose = "\n".join(program for prompt, program in made if "left?" in prompt)
    used = "".join(re.findall(r" ([-+*/%]) ", asked_to_lose))
    assert len(used) > 500
    for operation in "+-*/%":
        assert 0.15 < used.count(operation) / len(used) < 0.25


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        problems("validation", count=1, seed=0)
    assert str(caught.value) == (
        "The arithmetic task has no split 'validation'; use one of train, dev, test."
    )
