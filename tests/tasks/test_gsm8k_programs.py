"""Solutions as programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from reft_megatron.tasks.gsm8k import solution_and_answer
from reft_megatron.tasks.gsm8k_programs import Draft, Outcome, draft_program
from reft_megatron.tasks.records import read_records

BOXES = "Ana has 12 boxes with 8 pens each. She gives away 20%. How many pens are left?"
CLASS = "A class has 10 boys and 15 girls. What percentage of the class is boys?"


def body(draft: Draft, question: str) -> list[str]:
    """The lines of a program below its docstring, after checking the head."""
    head = f'def solution():\n    """{question}"""\n'
    assert draft.program.startswith(head)
    return [line.removeprefix("    ") for line in draft.program[len(head) :].split("\n")]


def test_annotated_steps_become_assignments() -> None:
    solution = (
        "She starts with 12*8=<<12*8=96>>96 pens.\n"
        "She gives away 96*20/100=<<96*20/100=19.2>>19.2 pens.\n"
        "She is left with 96-19.2=<<96-19.2=76.8>>76.8 pens."
    )
    draft = draft_program(BOXES, solution, "76.8")
    assert draft.outcome is Outcome.ANNOTATED
    assert body(draft, BOXES) == [
        "ana_boxes = 12",
        "ana_pens = 8",
        "starts_pens = ana_boxes * ana_pens",
        "away_percent = 20",
        "away_pens = starts_pens * away_percent / 100",
        "left_pens = starts_pens - away_pens",
        "result = left_pens",
        "return result",
    ]


def test_an_equation_in_the_last_sentence_is_a_step() -> None:
    draft = draft_program(CLASS, "So 10+15=<<10+15=25>>25.\nBoys are 10 / 25 * 100% = 40%.", "40")
    assert draft.outcome is Outcome.WRITTEN
    assert body(draft, CLASS) == [
        "class_boys = 10",
        "class_girls = 15",
        "amount = class_boys + class_girls",
        "boys_percent = class_boys / amount * 100",
        "result = boys_percent",
        "return result",
    ]


def test_a_share_becomes_a_percentage_where_the_question_asks_one() -> None:
    solution = "So 10+15=<<10+15=25>>25.\nThe share is 10/25=<<10/25=.4>>.4"
    draft = draft_program(CLASS, solution, "40")
    assert draft.outcome is Outcome.PERCENT
    assert body(draft, CLASS)[-2:] == ["result = share * 100", "return result"]
    other = draft_program("A class has 10 boys and 15 girls.", solution, "40")
    assert other == Draft(outcome=Outcome.NOT_REACHED, program="")


def test_steps_that_the_result_does_not_need_are_left_out() -> None:
    solution = "Old: 2*3=<<2*3=6>>6 figs.\nNew: 7*8=<<7*8=56>>56 dates."
    draft = draft_program("How many?", solution, "56")
    assert body(draft, "How many?") == ["new_dates = 7 * 8", "result = new_dates", "return result"]


def test_a_variable_is_read_once_in_an_expression() -> None:
    draft = draft_program("How many?", "2+2=<<2+2=4>>4 figs.\n4*4=<<4*4=16>>16 dates", "16")
    assert body(draft, "How many?")[:2] == ["figs = 2 + 2", "dates = figs * 4"]


def test_a_value_that_nothing_has_read_yet_is_preferred() -> None:
    question = "Tom has 9 cats and 5 dogs."
    solution = "He has 4+5=<<4+5=9>>9 pets.\nHe buys 9*6=<<9*6=54>>54 toys.\n54+9=<<54+9=63>>63"
    assert body(draft_program(question, solution, "63"), question)[2:5] == [
        "buys_toys = pets * 6",
        "tom_cats = 9",
        "amount = buys_toys + tom_cats",
    ]


@pytest.mark.parametrize(
    ("solution", "answer", "outcome"),
    [
        ("Let x be it. Then 2x = 10, so x = 5.", "5", Outcome.NO_STEPS),
        ("That is <<5=5>>5.", "5", Outcome.NO_STEPS),
        ("So 2+2 = <<2+2=4>>4, and the answer is 9.", "9", Outcome.NOT_REACHED),
        ("So 4+5 = <<4+5=9>>9, and 2+2 = <<2+2=4>>4.", "9", Outcome.NOT_REACHED),
    ],
)
def test_an_answer_that_is_not_computed_gives_no_program(
    solution: str, answer: str, outcome: Outcome
) -> None:
    draft = draft_program("How many?", solution, answer)
    assert draft == Draft(outcome=outcome, program="")


def test_a_question_that_would_break_its_docstring_is_escaped() -> None:
    question = 'What does he mean by "two\n\nfigs and 3\\4 dates"'
    program = draft_program(question, "1+1=<<1+1=2>>2 figs", "2").program
    assert program == (
        'def solution():\n    """What does he mean by "two\nfigs and 3\\\\4 dates\\""""\n'
        "    figs = 1 + 1\n    result = figs\n    return result"
    )


_RUN_ALL = """
import json, sys
values = []
for program in json.load(sys.stdin):
    names = {}
    exec(program, names)
    values.append(names["solution"]())
json.dump(values, sys.stdout)
"""


@pytest.mark.shared_data
def test_at_least_93_percent_of_gsm8k_become_right_programs(shared_data: Path) -> None:
    records = read_records(str(shared_data / "gsm8k" / "train.jsonl"), "")
    solved = [solution_and_answer(record) for record in records]
    drafts = [
        draft_program(record.text("question"), solution, answer)
        for record, (solution, answer) in zip(records, solved, strict=True)
    ]
    gold = [
        float(answer) for draft, (_, answer) in zip(drafts, solved, strict=True) if draft.program
    ]
    programs = [draft.program for draft in drafts if draft.program]
    process = subprocess.run(
        [sys.executable, "-I", "-c", _RUN_ALL],
        input=json.dumps(programs),
        capture_output=True,
        text=True,
        check=True,
    )
    values = json.loads(process.stdout)
    right = sum(abs(value - want) <= 1e-2 for value, want in zip(values, gold, strict=True))
    assert len(records) == 7473
    assert right == len(programs)
    assert right / len(records) >= 0.93
    assert all(program.endswith("\n    return result") for program in programs)
    assert all(program.split("\n")[-2].startswith("    result = ") for program in programs)
