"""Built cases carry labels that do not come from the judge, and the judge meets them."""

from __future__ import annotations

import functools
from fractions import Fraction

import pytest

from reft_megatron.config import RewardConfig, TaskConfig
from reft_megatron.errors import ConfigError
from reft_megatron.ops.extractor import TRIGGER
from reft_megatron.ops.workers import WorkerPool
from reft_megatron.rewards import Judge, labelling
from reft_megatron.rewards.audit import audit
from reft_megatron.tasks.arithmetic import problems
from reft_megatron.types import AnswerKind, Form, Labelled, Problem

MISSED = {
    "program": {
        "returned: currency",
        "returned: unit",
        "returned: fraction",
        "returned: thousands",
    },
    "nl": {
        "line: in brackets",
        "line: equation",
        "line: unit",
        "line: fraction",
        "line: text behind",
    },
}
"""Kinds that are right and not paid: docs/audit.md says why."""


def labelled(problems: list[Problem], *, form: Form, kind: AnswerKind) -> list[Labelled]:
    return labelling.labelled(problems, TaskConfig(form=form), RewardConfig(), kind=kind)


def solved(form: Form) -> list[Problem]:
    made = list(problems("train", count=12, seed=5))
    if form == "program":
        return made
    return [
        Problem(id=p.id, question=p.question, answer=p.answer, cot="Let us count.") for p in made
    ]


@pytest.mark.parametrize("form", ["program", "nl"])
def test_the_judge_pays_for_nothing_wrong(form: Form, short: object) -> None:
    cases = labelled(solved(form), form=form, kind="number")
    assert cases == labelled(solved(form), form=form, kind="number")
    with Judge(form=form, kind="number", config=short, parity="correct") as judge:
        found = audit(cases, judge.check)
    total = found.total
    assert len(cases) > 400
    assert (total.false_positives, total.faults) == (0, 0)
    assert {f.case.kind for f in found.false_negatives} <= MISSED[form]
    assert min(total.right, total.wrong) > 100


def test_labels_are_those_of_cpython_and_exact_fractions() -> None:
    for case in labelled(solved("program")[:4], form="program", kind="number"):
        if not case.kind.startswith("changed"):
            continue
        names: dict[str, object] = {}
        try:
            exec(case.completion, names)
            value = Fraction(float(names["solution"]()))
        except (ArithmeticError, ValueError, TypeError):
            assert not case.right
            continue
        near = abs(value - Fraction(case.problem.answer)) <= Fraction(1, 100)
        assert case.right is near, case.completion


def test_a_gold_program_that_is_wrong_is_labelled_so() -> None:
    problem = Problem(
        id="a_1", question="?", answer="5", cot="def solution():\n    result = 4\n    return result"
    )
    cases = labelled([problem], form="program", kind="number")
    assert [case.right for case in cases if case.kind == "gold"] == [False]


def test_a_gold_chain_that_is_no_program_is_labelled_wrong() -> None:
    problem = Problem(id="a_1", question="?", answer="5", cot="def solution():\n    return 5 +")
    cases = labelled([problem], form="program", kind="number")
    made = {case.kind: case.right for case in cases if not case.kind.startswith(("ret", "hack"))}
    assert made == {"gold": False, "rewritten: chatter behind": False}


def test_a_number_on_the_edge_of_the_tolerance_has_no_label() -> None:
    """By fractions 1.21 is near 1.2 and 0.11 not near 0.1; by floats it is the other way round."""
    edges = {"1.2": "1.21", "0.1": "0.11", "3": "2.99"}
    made = [
        Problem(
            id=f"a_{gold}", question="?", answer=gold, cot=f"def solution():\n    return {edge}"
        )
        for gold, edge in edges.items()
    ]
    assert "gold" not in {case.kind for case in labelled(made, form="program", kind="number")}


def test_a_program_that_does_not_end_has_no_label(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = functools.partial(WorkerPool, wall_s=0.3)
    monkeypatch.setattr(labelling, "WorkerPool", lambda wall_s, **more: pool(**more))
    endless = "def solution():\n    while True:\n        pass"
    problem = Problem(id="a_1", question="?", answer="5", cot=endless)
    kinds = {case.kind.split(":")[0] for case in labelled([problem], form="program", kind="number")}
    assert kinds == {"returned", "hack"}


@pytest.mark.parametrize(
    "own", [{"reward": "own.py"}, {"prompt": "{question}"}, {"answers": "text"}]
)
def test_nothing_is_built_whose_label_nobody_knows(own: dict[str, str]) -> None:
    task = TaskConfig(name="custom", **own)
    with pytest.raises(ConfigError) as caught:
        labelling.labelled([], task, RewardConfig(), kind=task.answers)
    assert str(caught.value) == (
        "cases are built for the built-in reward, ReFT's own prompts, and numbers or letters; with "
        f"task.{next(iter(own))} nobody knows their labels. Give a file of labelled completions "
        "(docs/audit.md)."
    )


def test_letters(short: object) -> None:
    words = Problem(id="m_1", question="?", answer="b", cot="So it is.")
    program = "def solution():\n    result = 'b'\n    return result"
    told = Problem(id="m_2", question="?", answer="b", cot=program)
    for form, problem, missed in (
        ("nl", words, {"line: option in words", "line: text behind"}),
        ("program", told, {"returned: letter with bracket"}),
    ):
        cases = labelled([problem], form=form, kind="letter")
        with Judge(form=form, kind="letter", config=short, parity="correct") as judge:
            found = audit(cases, judge.check)
        assert found.total.false_positives == found.total.faults == 0
        assert {f.case.kind for f in found.false_negatives} == missed


def test_problems_without_a_chain_make_no_cases() -> None:
    assert labelled([Problem(id="a_1", question="?", answer="5")], form="nl", kind="number") == []


def test_answer_lines_end_the_gold_text() -> None:
    problem = solved("nl")[0]
    texts = {c.kind: c.completion for c in labelled([problem], form="nl", kind="number")}
    assert texts["line: gold"] == f"Let us count.{TRIGGER}{problem.answer}"
