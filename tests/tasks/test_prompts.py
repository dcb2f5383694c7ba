"""The texts of ReFT, byte for byte."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reft_megatron.tasks.prompts import (
    answer_text,
    program_head,
    prompt_text,
    supervised_text,
)
from reft_megatron.types import Problem

PROGRAM = 'def solution():\n    """How many?"""\n    result = 2 + 1\n    return result'
SVAMP = Problem(id="svamp_1", question="How many?", answer="3.0", cot=PROGRAM)
SPOKEN = Problem(id="svamp_1", question="How many?", answer="3.0", cot="2 + 1 is 3.")


def test_a_program_prompt_ends_with_the_head_of_the_program() -> None:
    assert prompt_text(SVAMP, "program", "correct") == (
        'Question:\nHow many?\nAnswer reasoning:\ndef solution():\n    """How many?"""\n'
    )


def test_a_natural_language_prompt_ends_with_the_trigger() -> None:
    assert prompt_text(SPOKEN, "nl", "correct") == "Question:\nHow many?\nAnswer reasoning:\n"


def test_supervised_program_text() -> None:
    assert supervised_text(SVAMP, "program") == (
        "Question:\nHow many?\nAnswer reasoning:\n",
        'def solution():\n    """How many?"""\n    result = 2 + 1\n    return result',
    )


def test_supervised_natural_language_text_ends_with_the_answer_as_written() -> None:
    assert supervised_text(SPOKEN, "nl") == (
        "Question:\nHow many?\nAnswer reasoning:\n",
        "2 + 1 is 3.\nTherefore, the answer is: 3.0",
    )


def test_a_prompt_is_a_prefix_of_the_supervised_text() -> None:
    asked, output = supervised_text(SVAMP, "program")
    assert (asked + output).startswith(prompt_text(SVAMP, "program", "correct"))


@pytest.mark.parametrize(
    ("completion", "answer", "as_reference"),
    [
        ("  2 + 1 is 3. \n", "2 + 1 is 3.", "2 + 1 is 3."),
        ("old\nAnswer reasoning:\nnew", "old\nAnswer reasoning:\nnew", "new"),
        ("", "", ""),
    ],
)
@pytest.mark.parametrize("question", ["q", "q\nAnswer reasoning:\nq"])
def test_the_answer_follows_the_prompts_own_trigger(
    question: str, completion: str, answer: str, as_reference: str
) -> None:
    """The reference takes the last trigger, so that a second try in one completion counts."""
    problem = Problem(id="p", question=question, answer="3")
    assert answer_text(problem, completion, form="nl", parity="correct") == answer
    assert answer_text(problem, completion, form="nl", parity="reference") == as_reference


def test_the_answer_of_a_program_begins_with_the_prompts_head() -> None:
    problem = Problem(id="p", question="q", answer="3")
    program = 'def solution():\n    """q"""\n    return 3'
    for parity in ("correct", "reference"):
        assert answer_text(problem, "    return 3\n", form="program", parity=parity) == program


AWKWARD = 'a\n\n \nb """c""" \\n "d"'


def test_parity_correct_flattens_and_escapes_the_docstring() -> None:
    assert program_head(AWKWARD, "correct") == (
        'def solution():\n    """a\nb \\"\\"\\"c\\"\\"\\" \\\\n "d\\""""\n'
    )


def test_parity_reference_copies_the_question_raw() -> None:
    assert program_head(AWKWARD, "reference") == f'def solution():\n    """{AWKWARD}"""\n'


def test_the_question_of_the_prompt_itself_is_never_changed() -> None:
    problem = Problem(id="svamp_1", question=AWKWARD, answer="3")
    assert prompt_text(problem, "nl", "correct") == f"Question:\n{AWKWARD}\nAnswer reasoning:\n"


def test_the_options_of_a_multiple_choice_question_stay_on_their_line() -> None:
    question = "how many ?\na ) 38 , b ) 27"
    assert program_head(question, "correct") == program_head(question, "reference")


@settings(deadline=None)
@given(
    st.text(st.one_of(st.sampled_from("\"\\\n\r'ab "), st.characters(codec="utf-8")), max_size=30)
)
def test_any_question_survives_as_a_docstring(question: str) -> None:
    question = question.replace("\0", "")
    tree = ast.parse(program_head(question, "correct") + "    return 1")
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    lines = [line for line in question.splitlines() if line.strip()]
    assert ast.get_docstring(function, clean=False) == "\n".join(lines)
