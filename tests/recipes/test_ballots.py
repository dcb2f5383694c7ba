"""Votes and pass@k against slow references; ballots of rollouts and of a ledger."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reft_megatron.errors import DataError
from reft_megatron.recipes.ballots import curves, sampled_ballots, stored_ballots
from reft_megatron.rollouts.ledger import Ledger
from reft_megatron.types import Completion, Problem, Reason, Rollout, Verdict

GOLD = 1.0
Answers = list[list[float | None]]
"""Of each problem, whose gold answer is 1, what its samples 0, 1, ... answered."""


def make_rollout(
    problem_id: str, sample: int, value: float | str | None, *, gold: float | str = GOLD, seed=0
) -> Rollout:
    right = value == gold if isinstance(value, str) else abs((value or 0) - gold) <= 1e-2
    reason = Reason.CORRECT if right else Reason.WRONG_VALUE
    return Rollout(
        completion=Completion(
            problem_id=problem_id,
            sample=sample,
            prompt_ids=np.zeros(1, np.int32),
            token_ids=np.zeros(1, np.int32),
            logprobs=np.zeros(1, np.float32),
            finished=True,
        ),
        text="",
        verdict=Verdict(reason=Reason.NO_SOLUTION if value is None else reason, value=value),
        reward=0.0,
        policy_version=0,
        seed=seed,
    )


def make_problems(count: int) -> list[Problem]:
    return [Problem(id=f"p_{i}", question="", answer="1") for i in range(count)]


def make_rollouts(answers: Answers) -> list[Rollout]:
    return [
        make_rollout(f"p_{i}", sample, value)
        for i, values in enumerate(answers)
        for sample, value in enumerate(values)
    ]


def slow_vote(values: Sequence[float | None]) -> bool:
    """Buckets as lists; a later bucket wins only with more votes than all before it."""
    buckets: list[list[float]] = []
    for value in values:
        if value is not None:
            near = [bucket for bucket in buckets if abs(bucket[0] - value) <= 1e-2]
            (near or [buckets.append([]) or buckets[-1]])[0].append(value)
    best: list[float] = []
    for bucket in buckets:
        best = bucket if len(bucket) > len(best) else best
    return bool(best) and abs(best[0] - GOLD) <= 1e-2


def slow_pass(values: Sequence[float | None], k: int) -> float:
    """The share of all choices of k samples that hold a right one."""
    right = [value is not None and abs(value - GOLD) <= 1e-2 for value in values]
    choices = list(itertools.combinations(right, k))
    return sum(any(choice) for choice in choices) / len(choices)


VALUES = st.sampled_from([None, 1.0, 1.009, 1.0 - 1e-9, 2.0, 2.0000000004, 3.0])


@settings(deadline=None)  # a shared machine may stall
@given(
    answers=st.integers(1, 6).flatmap(
        lambda k: st.lists(st.lists(VALUES, min_size=k, max_size=k), min_size=1, max_size=6)
    )
)
def test_curves_are_what_counting_gives(answers: Answers) -> None:
    samples = len(answers[0])
    ballots = sampled_ballots(make_rollouts(answers), make_problems(len(answers)), samples=samples)
    found = curves(ballots)
    ks = sorted({*(k for k in (1, 2, 4) if k < samples), samples})
    assert list(found) == [f"{what}@{k}" for what in ("vote", "pass") for k in ks]
    for k in ks:
        assert list(found[f"vote@{k}"]) == [slow_vote(values[:k]) for values in answers]
        assert found[f"pass@{k}"] == pytest.approx([slow_pass(values, k) for values in answers])


@pytest.mark.parametrize(
    ("values", "vote", "passed"),
    [
        ([1.0, 2.0, 2.0, 1.0], True, 1.0),  # a tie: the answer seen first
        ([2.0, 1.0, 1.0, 2.0], False, 1.0),
        ([2.0, 1.0, 1.0 + 4e-10, 3.0], True, 1.0),  # one answer within 0.01
        ([2.0, 1.0, 1.02, 2.0], False, 1.0),  # two beyond
        ([None, None, 1.0, None], True, 1.0),  # what has no answer has no vote
        ([None, None, None, None], False, 0.0),
        ([2.0, 3.0, 2.0, None], False, 0.0),
    ],
)
def test_votes_by_hand(values: list[float | None], vote: bool, passed: float) -> None:
    found = curves(sampled_ballots(make_rollouts([values]), make_problems(1), samples=4))
    assert (list(found["vote@4"]), list(found["pass@4"])) == ([vote], [passed])
    share = sum(value is not None and abs(value - 1) <= 1e-2 for value in values) / 4
    assert list(found["pass@1"]) == [pytest.approx(share)]


def test_the_reference_counts_votes_of_raw_floats() -> None:
    """Three answers within the tolerance are one, or of three kinds."""
    answers = [[2.0, 1.0, 1.000001, 2.0, 0.999999]]
    ballots = sampled_ballots(make_rollouts(answers), make_problems(1), samples=5)
    assert curves(ballots)["vote@5"].tolist() == [True]
    assert curves(ballots, exact=True)["vote@5"].tolist() == [False]


def test_letters_vote_too() -> None:
    rollouts = [make_rollout("p_0", n, letter, gold="b") for n, letter in enumerate("abbd")]
    found = curves(sampled_ballots(rollouts, make_problems(1), samples=4))
    assert [bool(found[f"vote@{k}"][0]) for k in (1, 2, 4)] == [False, False, True]


def test_what_was_not_asked_or_judged_counts_as_wrong() -> None:
    """Of three problems one has no rollout, one lacks a sample."""
    rollouts = make_rollouts([[1.0, 1.0], [1.0]])
    found = curves(sampled_ballots(rollouts, make_problems(3), samples=2))
    assert list(found["vote@2"]) == [True, True, False]
    assert list(found["pass@1"]) == [1.0, 0.5, 0.0]


def fill(folder: Path, *parts: list[Rollout]) -> Ledger:
    """A ledger with these iterations."""
    ledger = Ledger(folder)
    for number, rollouts in enumerate(parts, start=1):
        ledger.append(number, 0, rollouts)
        ledger.seal(number, data_size=1)
    return ledger


ANSWERS: Answers = [[1.0, None, 2.0], [2.0, 2.0, 1.0], [1.0, 1.0, 1.0]]


@pytest.mark.parametrize("samples", [0, 1, 2, 3])
def test_a_ledger_gives_the_ballots_of_its_rollouts(tmp_path: Path, samples: int) -> None:
    rollouts, problems = make_rollouts(ANSWERS), make_problems(3)
    rollouts += [make_rollout("p_3", n, "c", gold="c") for n in range(3)]
    problems += [Problem(id="p_3", question="", answer="c")]
    ledger = fill(tmp_path, rollouts[7:], rollouts[:7])
    ids = {problem.id for problem in problems}
    stored = stored_ballots(ledger, problems, asked=ids, samples=samples, max_missing=0)
    wanted = sampled_ballots(rollouts, problems, samples=samples or 3)
    assert stored == wanted
    some = stored_ballots(ledger, problems[1:2], asked=ids, samples=samples, max_missing=0)
    assert some == wanted[1:2], "the ledger may hold other problems"


def test_few_may_be_missing_and_problems_without_room(tmp_path: Path) -> None:
    rollouts, problems = make_rollouts(ANSWERS), make_problems(4)
    ledger = fill(tmp_path, rollouts[:4] + rollouts[5:])
    asked = {"p_0", "p_1", "p_2"}
    stored = stored_ballots(ledger, problems, asked=asked, samples=3, max_missing=1 / 9)
    assert stored == sampled_ballots(rollouts[:4] + rollouts[5:], problems, samples=3)
    with pytest.raises(DataError) as error:
        stored_ballots(ledger, problems, asked=asked, samples=3, max_missing=0.1)
    assert str(error.value) == (
        "evaluate.ledger lacks 1 of 9 completions, sample 1 of p_1 first. Name one of this split, "
        "and let its run end."
    )


@pytest.mark.parametrize(
    ("parts", "samples", "message"),
    [
        (
            [make_rollouts(ANSWERS)],
            4,
            "evaluate.ledger has 3 samples a problem, and evaluate.samples is 4. Name the ledger "
            "of a run of the recipe sample, with as many samples.",
        ),
        (
            [],
            0,
            "evaluate.ledger has 0 samples a problem, and evaluate.samples is 0. Name the ledger "
            "of a run of the recipe sample, with as many samples.",
        ),
        (
            [make_rollouts(ANSWERS), [make_rollout("p_0", 0, 1.0, seed=1)]],
            0,
            "evaluate.ledger has samples of 2 policies or seeds, as training leaves them. Name the "
            "ledger of a run of the recipe sample.",
        ),
        (
            [[make_rollout("q_0", 0, 1.0)]],
            0,
            "evaluate.ledger lacks 3 of 3 completions, sample 0 of p_0 first. Name one of this "
            "split, and let its run end.",
        ),
    ],
)
def test_a_ledger_that_does_not_fit(
    tmp_path: Path, parts: list[list[Rollout]], samples: int, message: str
) -> None:
    ledger, problems = fill(tmp_path, *parts), make_problems(3)
    asked = {problem.id for problem in problems}
    with pytest.raises(DataError) as error:
        stored_ballots(ledger, problems, asked=asked, samples=samples, max_missing=0.01)
    assert str(error.value) == message
