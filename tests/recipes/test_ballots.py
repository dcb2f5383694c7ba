"""Figures over k against slow references; ballots of a ledger, and the file of them."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reft_megatron.errors import DataError
from reft_megatron.recipes.ballots import (
    BALLOTS,
    Ballots,
    Poll,
    curves,
    read_ballots,
    stored_samples,
    write_ballots,
)
from reft_megatron.rollouts.ledger import Ledger
from reft_megatron.types import Completion, Reason, Rollout, Verdict

Value = float | str | None
Answers = list[list[Value]]
"""Of each problem what its samples 0, 1, ... answered; the gold answer is 1, or the letter b."""
GOLD = (1.0, "b")


def is_right(value: Value) -> bool:
    if isinstance(value, str):
        return value == "b"
    return value is not None and abs(value - 1.0) <= 1e-2


def verdict_of(value: Value) -> Verdict:
    if value is None:
        return Verdict(reason=Reason.NO_SOLUTION)
    return Verdict(reason=Reason.CORRECT if is_right(value) else Reason.WRONG_VALUE, value=value)


def ballots_of(answers: Answers) -> Ballots:
    """No sample is missing, and the poll has them in order."""
    places = np.arange(len(answers) * len(answers[0]))
    return Ballots(verdicts=[[*map(verdict_of, values)] for values in answers], places=places)


def alike(one: Value, other: Value) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return abs(one - other) <= 1e-2


def slow_vote(values: Sequence[Value], weights: Sequence[float]) -> bool:
    """Buckets as lists; a later bucket wins only with more weight than all before it."""
    buckets: list[list[int]] = []
    for index, value in enumerate(values):
        if value is not None:
            near = [bucket for bucket in buckets if alike(values[bucket[0]], value)]
            (near or [buckets.append([]) or buckets[-1]])[0].append(index)
    best, most = None, -1.0
    for bucket in buckets:
        weight = math.fsum(sorted(weights[index] for index in bucket))
        # Where probabilities that differ sum up alike, rounding may decide.
        assume(weight == most or abs(weight - most) > 1e-9)
        if weight > most:
            best, most = bucket, weight
    return best is not None and is_right(values[best[0]])


def slow_rerank(values: Sequence[Value], margins: Sequence[float]) -> bool:
    """The answer that no other outscores, the first of those."""
    for value, margin in zip(values, margins, strict=True):
        others = [m for v, m in zip(values, margins, strict=True) if v is not None]
        if value is not None and margin == max(others):
            return is_right(value)
    return False


def slow_pass(values: Sequence[Value], k: int) -> float:
    """The share of all choices of k samples that hold a right one."""
    choices = list(itertools.combinations(map(is_right, values), k))
    return sum(any(choice) for choice in choices) / len(choices)


NUMBERS = st.sampled_from([None, 1.0, 1.009, 1.0 - 1e-9, 1.02, 2.0, 2.0000000004, 3.0])
LETTERS = st.sampled_from([None, "a", "b", "c", "e"])
MARGINS = st.sampled_from([-50.0, -1.5, 0.0, 0.7, 0.7 + 2**-20, 3.0, 30.0])
"""In float32 all of them differ; 0.7 and the next are one in bf16."""


@st.composite
def elections(draw: st.DrawFn) -> tuple[Answers, list[list[float]]]:
    samples = draw(st.integers(1, 6))
    answers, margins = [], []
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from([NUMBERS, LETTERS]))
        answers.append(draw(st.lists(kind, min_size=samples, max_size=samples)))
        margins.append(draw(st.lists(MARGINS, min_size=samples, max_size=samples)))
    return answers, margins


@settings(deadline=None)  # a shared machine may stall
@given(election=elections())
def test_curves_are_what_slow_counting_gives(election: tuple[Answers, list[list[float]]]) -> None:
    answers, margins = election
    samples = len(answers[0])
    found = curves(ballots_of(answers), margins=np.array(margins, np.float32))
    ks = sorted({*(k for k in (1, 2, 4) if k < samples), samples})
    names = ("vote", "rerank", "weighted", "pass")
    assert list(found) == [f"{name}@{k}" for name in names for k in ks]
    for k in ks:
        for n, (values, scores) in enumerate(zip(answers, margins, strict=True)):
            first, scored = values[:k], scores[:k]
            chances = [1 / (1 + math.exp(-margin)) for margin in scored]
            assert found[f"vote@{k}"][n] == slow_vote(first, [1.0] * k)
            assert found[f"rerank@{k}"][n] == slow_rerank(first, scored)
            assert found[f"weighted@{k}"][n] == slow_vote(first, chances)
            assert found[f"pass@{k}"][n] == pytest.approx(slow_pass(values, k))


# What samples answered, how they were scored; vote, rerank, weighted over all, and pass@1.
BY_HAND: list[tuple[list[Value], list[float], tuple[bool, bool, bool], float]] = [
    ([1.0, 2.0, 2.0, 1.0], [0, 0, 0, 0], (True, True, True), 0.5),  # ties: first seen
    ([2.0, 1.0, 1.0, 2.0], [0, 0, 0, 0], (False, False, False), 0.5),
    ([2.0, 1.0, 1.0 + 4e-10, 3.0], [1, 0, 0, 0], (True, False, True), 0.5),  # one within 0.01
    ([2.0, 1.0, 1.02, 2.0], [0, 1, 9, 0], (False, False, False), 0.25),  # two beyond
    ([2.0, 2.0, 1.0, None], [-2, -2, 2, 9], (False, True, True), 0.25),  # one sure, two doubtful
    ([None, None, 1.0, None], [9, 9, -9, 9], (True, True, True), 0.25),  # no answer, no vote
    ([None, None, None, None], [1, 2, 3, 4], (False, False, False), 0.0),
    ([2.0, 3.0, 2.0, None], [1, 2, 3, 4], (False, False, False), 0.0),  # all wrong
    (["a", "b", "b", "d"], [3, 1, 1, 0], (True, False, True), 0.5),  # of MathQA
    (["a", "b", "e", "b"], [3, -3, -3, -3], (True, False, False), 0.5),
]


@pytest.mark.parametrize(("values", "margins", "chosen", "luck"), BY_HAND)
def test_figures_by_hand(
    values: list[Value], margins: list[float], chosen: tuple[bool, bool, bool], luck: float
) -> None:
    found = curves(ballots_of([values]), margins=np.array([margins], np.float32))
    names = ("vote", "rerank", "weighted")
    assert tuple(bool(found[f"{name}@4"][0]) for name in names) == chosen
    assert found["pass@1"][0] == pytest.approx(luck)
    assert found["pass@4"][0] == (1.0 if luck else 0.0)


def test_the_reference_votes_by_raw_floats_and_its_scores_tie() -> None:
    """Three answers within the tolerance are one, or of three kinds; 30.1 is no surer than 30."""
    ballots = ballots_of([[2.0, 1.0, 1.000001, 2.0, 0.999999]])
    margins = np.array([[30.0, 30.1, 0.0, 0.0, 0.0]], np.float32)
    ours, theirs = (curves(ballots, margins=margins, as_reference=flag) for flag in (False, True))
    assert (ours["vote@5"].tolist(), theirs["vote@5"].tolist()) == ([True], [False])
    assert (ours["rerank@5"].tolist(), theirs["rerank@5"].tolist()) == ([True], [False])


def test_without_a_reranker_nothing_is_said_of_scores() -> None:
    assert list(curves(ballots_of([[1.0, 2.0]]))) == ["vote@1", "vote@2", "pass@1", "pass@2"]


def make_rollout(problem_id: str, sample: int, value: Value, *, seed: int = 0) -> Rollout:
    return Rollout(
        completion=Completion(
            problem_id=problem_id,
            sample=sample,
            prompt_ids=np.zeros(3, np.int32),
            token_ids=np.zeros(1 + sample, np.int32),
            logprobs=np.zeros(1 + sample, np.float32),
            finished=True,
        ),
        text=f"{problem_id}/{sample}",
        verdict=verdict_of(value),
        reward=0.0,
        policy_version=0,
        seed=seed,
    )


def make_rollouts(answers: Answers) -> list[Rollout]:
    return [
        make_rollout(f"p_{n}", sample, value)
        for n, values in enumerate(answers)
        for sample, value in enumerate(values)
    ]


def fill(folder: Path, *parts: list[Rollout]) -> Ledger:
    """A ledger with these iterations."""
    ledger = Ledger(folder)
    for number, rollouts in enumerate(parts, start=1):
        ledger.append(number, 0, rollouts)
        ledger.seal(number, data_size=1)
    return ledger


ANSWERS: Answers = [[1.0, None, 2.0], [2.0, 2.0, 1.0], [1.0, 1.0, 1.0], ["b", "c", None]]
IDS = ("p_0", "p_1", "p_2", "p_3")


def poll_of(ledger: Ledger, ids: Sequence[str] = IDS, samples: int = 3) -> Poll:
    iterations = ledger.iterations()
    return Poll(
        ledger=ledger,
        iterations=iterations,
        problems=tuple(ids),
        samples=stored_samples(ledger, iterations, wanted=samples),
    )


@pytest.mark.parametrize("samples", [0, 1, 2, 3])
def test_a_ledger_gives_the_ballots_of_its_rollouts(tmp_path: Path, samples: int) -> None:
    """Whatever its order; what is of other problems, or of later samples, does not count."""
    rollouts = make_rollouts(ANSWERS)
    poll = poll_of(fill(tmp_path, rollouts[:6:-1], rollouts[:7]), samples=samples)
    ballots = read_ballots(poll, asked=IDS, max_missing=0)
    wanted = ballots_of([values[: samples or 3] for values in ANSWERS])
    assert (ballots.verdicts, ballots.missing) == (wanted.verdicts, 0)
    assert poll.longest() == ("p_3", 3 + (samples or 3))
    some = dataclasses.replace(poll, problems=IDS[1:2])
    assert read_ballots(some, asked=IDS, max_missing=0).verdicts == wanted.verdicts[1:2]


def score_of(problem_id: str, sample: int) -> float:
    return 10 * int(problem_id[2:]) + sample


def scores_of(poll: Poll) -> np.ndarray[Any, Any]:
    """Of each completion that counts, in the order of the poll."""
    rows = (
        zip(*(c.to_pylist() for c in b), strict=True)
        for b in poll.batches(("problem_id", "sample"))
    )
    return np.array([score_of(*row) for batch in rows for row in batch], np.float32)


def test_a_ledger_that_grows_is_read_as_far_as_it_was_there(tmp_path: Path) -> None:
    """Ranks look at it at different moments, and must see the same."""
    rollouts = make_rollouts(ANSWERS)
    poll = poll_of(fill(tmp_path, rollouts[:7]))
    before = scores_of(poll)
    fill_more = Ledger(tmp_path)
    fill_more.append(2, 0, rollouts[7:])
    fill_more.seal(2, data_size=1)
    np.testing.assert_array_equal(scores_of(poll), before)
    assert len(before) == 7


def test_scores_find_their_samples(tmp_path: Path) -> None:
    rollouts = make_rollouts(ANSWERS)
    poll = poll_of(fill(tmp_path, rollouts[:6:-1] + rollouts[5:7], rollouts[:4]))
    ballots = read_ballots(poll, asked=("p_0", "p_2", "p_3"), max_missing=0)
    spread = ballots.spread(scores_of(poll))
    wanted = [[score_of(name, sample) for sample in range(3)] for name in IDS]
    wanted[1][1] = math.nan  # nobody recorded it
    np.testing.assert_array_equal(spread, np.array(wanted, np.float32))
    assert ballots.missing == 1
    assert not ballots.right[1, 1]
    found = curves(ballots, margins=spread)
    assert found["rerank@3"].tolist() == [False, True, True, False]


@pytest.mark.parametrize("scored", [True, False])
def test_the_file_of_ballots(tmp_path: Path, scored: bool) -> None:
    """As any tool reads it: in the order of the split, though the ledger has another; numbers and
    letters in one task, as a reward of the user's may have them."""
    rollouts = make_rollouts(ANSWERS)
    order = ("p_3", "p_2", "p_0", "p_1")
    poll = poll_of(
        fill(tmp_path / "ledger", [*rollouts[:6:-1], *rollouts[6:1:-1], *rollouts[:2]]), order, 2
    )
    scores = scores_of(poll) if scored else None
    write_ballots(tmp_path / "ballots.parquet", poll, scores)
    table = pq.read_table(tmp_path / "ballots.parquet")
    assert table.schema.equals(BALLOTS)
    assert table.to_pylist() == [
        {
            "problem_id": name,
            "sample": sample,
            "reason": str(verdict_of(value).reason),
            "value": None if isinstance(value, str) else value,
            "letter": value if isinstance(value, str) else None,
            "right": is_right(value),
            "text": f"{name}/{sample}",
            "score": score_of(name, sample) if scored else None,
        }
        for name in order
        for sample, value in enumerate(ANSWERS[int(name[2:])][:2])
    ]


def test_few_may_be_missing_and_problems_without_room(tmp_path: Path) -> None:
    rollouts = make_rollouts(ANSWERS)
    poll = poll_of(fill(tmp_path, rollouts[:4] + rollouts[5:9]))
    asked = {"p_0", "p_1", "p_2"}
    ballots = read_ballots(poll, asked=asked, max_missing=1 / 9)
    found = curves(ballots)
    assert ballots.missing == 4
    assert found["vote@3"].tolist() == [True, False, True, False]
    assert found["pass@1"] == pytest.approx([1 / 3, 1 / 3, 1.0, 0.0])
    with pytest.raises(DataError) as error:
        read_ballots(poll, asked=asked, max_missing=0.1)
    assert str(error.value) == (
        "evaluate.ledger lacks 1 of 9 completions, sample 1 of p_1 first. Name one of this split, "
        "and let its run end."
    )


TWICE = [make_rollouts(ANSWERS), [make_rollout("p_1", 2, 1.0)]]


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
            "evaluate.ledger lacks 4 of 4 completions, sample 0 of p_0 first. Name one of this "
            "split, and let its run end.",
        ),
        (
            TWICE,
            0,
            "evaluate.ledger has 1 completions more than once, sample 2 of p_1 first, so that "
            "nobody knows which counts. Name the ledger of one run of the recipe sample.",
        ),
    ],
)
def test_a_ledger_that_does_not_fit(
    tmp_path: Path, parts: list[list[Rollout]], samples: int, message: str
) -> None:
    ledger = fill(tmp_path, *parts)
    with pytest.raises(DataError) as error:
        read_ballots(poll_of(ledger, samples=samples), asked=IDS, max_missing=0.01)
    assert str(error.value) == message
