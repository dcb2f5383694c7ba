"""Audits count what a reward gets wrong, and a bar ends what is not good enough."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from reft_megatron.errors import TrainingError
from reft_megatron.rewards.audit import Tally, audit
from reft_megatron.types import Labelled, Problem, Reason, Verdict

RIGHT = Verdict(reason=Reason.CORRECT, value=3.0)
WRONG = Verdict(reason=Reason.WRONG_VALUE, value=4.0)
FAULT = Verdict(reason=Reason.EXECUTOR_FAULT, detail="killed")
VERDICTS = {"good": RIGHT, "bad": WRONG, "lost": FAULT}


def case(number: int, completion: str, right: bool, kind: str = "a") -> Labelled:
    problem = Problem(id=f"p_{number}", question="?", answer="3")
    return Labelled(problem=problem, completion=completion, right=right, kind=kind)


def check(answers: Sequence[tuple[Problem, str]]) -> list[Verdict]:
    return [VERDICTS[text] for _, text in answers]


CASES = [
    case(1, "good", True),
    case(2, "bad", True, "b"),
    case(3, "good", False),
    case(4, "bad", False),
    case(5, "lost", True, "b"),
    case(6, "bad", False, "b"),
]


def test_errors_are_counted_by_kind() -> None:
    found = audit(CASES, check)
    assert found.kinds == {
        "a": Tally(right=1, wrong=2, false_positives=1, false_negatives=0, faults=0),
        "b": Tally(right=2, wrong=1, false_positives=0, false_negatives=1, faults=1),
    }
    assert found.total == Tally(right=3, wrong=3, false_positives=1, false_negatives=1, faults=1)
    assert found.rates == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert [f.case for f in found.false_positives] == [CASES[2]]
    assert [f.case for f in found.false_negatives] == [CASES[1]]
    assert [f.case for f in found.faults] == [CASES[4]]
    assert found.false_positives[0].row() == {
        "id": "p_3",
        "kind": "a",
        "label": "wrong",
        "answer": "3",
        "verdict": "correct",
        "value": 3.0,
        "detail": "",
        "completion": "good",
    }


def test_a_bar_is_met_at_its_height_and_not_above() -> None:
    found = audit([c for c in CASES if c.completion != "lost"], check)
    found.demand(max_false_positive_rate=0.34, max_false_negative_rate=0.5)
    with pytest.raises(TrainingError) as caught:
        found.demand(max_false_positive_rate=0.33, max_false_negative_rate=0.5)
    assert str(caught.value) == (
        "the reward does not meet its bar. 1 false positives of 3 cases labelled wrong (33.33%, "
        "wanted at most 33.00%): p_3 [a]: wanted '3', verdict correct 3.0. `reft-megatron audit` "
        "lists all of them: mend the reward, or correct the labels."
    )
    with pytest.raises(TrainingError, match=r"1 false negatives of 2 .* verdict wrong_value 4\.0"):
        found.demand(max_false_positive_rate=1, max_false_negative_rate=0.4)


def test_what_is_not_judged_meets_no_bar() -> None:
    found = audit(CASES[4:5], check)
    with pytest.raises(TrainingError, match=r"1 cases not judged: p_5 .* \(killed\)"):
        found.demand(max_false_positive_rate=1, max_false_negative_rate=1)


def test_a_rate_of_no_cases_meets_no_bar() -> None:
    with pytest.raises(TrainingError, match="no case is labelled wrong, so nothing is known"):
        audit(CASES[:2], check).demand(max_false_positive_rate=0, max_false_negative_rate=1)


def test_an_error_names_a_few() -> None:
    found = audit([case(n, "good", False) for n in range(9)], check)
    with pytest.raises(TrainingError, match=r"p_0 .* p_1 .* p_2 .*, and 6 more"):
        found.demand(max_false_positive_rate=0, max_false_negative_rate=1)
