"""Evaluation: accuracy and vote against slow references, and a whole run of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reft_megatron.mesh import Axis
from reft_megatron.policy.huggingface import to_huggingface
from reft_megatron.recipes.evaluate import _accuracy, _vote
from reft_megatron.types import Completion, Problem, Reason, Rollout, Verdict
from tests.launch import Launcher, Run

UNASKED = "not asked or not judged"
METRICS = {"dev_accuracy": "top1", "vote_accuracy": "vote"}
CHECKED = ("evaluate.split=dev", "evaluate.samples=3")


def make_rollout(problem_id: str, sample: int, value: float | None, gold: float) -> Rollout:
    reason = Reason.CORRECT if value == gold else Reason.WRONG_VALUE
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
        seed=0,
    )


VALUES = st.lists(st.sampled_from([None, 1.0, 2.0, 3.0]), max_size=6)


@settings(deadline=None)  # a shared machine may stall
@given(answers=st.lists(VALUES, min_size=1, max_size=6))
def test_vote_is_what_counting_gives(answers: list[list[float | None]]) -> None:
    """Problem i has the gold answer 1; `answers[i]` are its samples, maybe none."""
    problems = [Problem(id=f"p_{i}", question="", answer="1") for i in range(len(answers))]
    rollouts = [
        make_rollout(f"p_{i}", sample, value, gold=1.0)
        for i, values in enumerate(answers)
        for sample, value in enumerate(values)
    ]
    right = 0
    for values in answers:
        votes = [value for value in values if value is not None]
        winner = max(votes, key=votes.count, default=None)  # the first of the most frequent
        right += winner == 1.0
    assert _vote(rollouts, problems) == right / len(answers)
    flat = [value for values in answers for value in values]
    assert _accuracy(rollouts, problems) == flat.count(1.0) / len(answers)


@pytest.fixture(scope="module")
def checked(launch: Launcher, warm: Run) -> Run:
    """The warm run's best model, evaluated at another layout."""
    best = warm.folder / "checkpoints" / "best"
    return launch(2, "evaluate", "checked", f"model.load={best}", *CHECKED)


@pytest.mark.megatron
def test_top1_is_the_share_of_right_completions(checked: Run, warm: Run) -> None:
    rows = completions(checked)
    right = [row["verdict"] == "correct" for row in rows]
    assert checked.summary["num_problems"] == len(rows) == 8
    assert checked.summary["top1"] == sum(right) / 8 == warm.summary["best_dev"] > 0
    assert right == [float(row["answer"]) == row["value"] for row in rows]
    recorded = {"step": 0} | {f"eval/{k}": checked.summary[v] for k, v in METRICS.items()}
    assert checked.metrics == [recorded]


def completions(run: Run) -> list[dict[str, Any]]:
    lines = (run.folder / "completions.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.megatron
def test_again_is_harmless(launch: Launcher, checked: Run, warm: Run) -> None:
    files = ("*.json*", "config.yaml")
    before = [checked.content(pattern) for pattern in files]
    best = warm.folder / "checkpoints" / "best"
    launch(2, "evaluate", "checked", f"model.load={best}", *CHECKED)
    after = [checked.content(pattern) for pattern in files]
    timing = "timing.jsonl"
    assert {**after[0], timing: b""} == {**before[0], timing: b""}


@pytest.mark.megatron
def test_a_prompt_too_long_counts_as_wrong(launch: Launcher, warm: Run, checked: Run) -> None:
    best = warm.folder / "checkpoints" / "best"
    lengths = launch.prompt_lengths("dev")
    limit = min(lengths.values())
    few = (f"generate.max_prompt_tokens={limit}", "evaluate.split=dev")
    run = launch(1, "evaluate", "short", f"model.load={best}", *few)
    wanted = completions(checked)
    for row in wanted:
        if lengths[row["id"]] > limit:
            row |= {
                "completion": "",
                "verdict": UNASKED,
                "detail": "",
                "value": None,
                "reward": 0.0,
            }
    assert completions(run) == wanted
    assert 0 < [row["verdict"] for row in wanted].count(UNASKED) < 8
    assert run.summary["top1"] == sum(row["verdict"] == "correct" for row in wanted) / 8


@pytest.mark.megatron
def test_weights_alone_are_enough(launch: Launcher, warm: Run, checked: Run) -> None:
    """Of a folder in Megatron's format that says nothing of the model around them."""
    load = (f"model.load={warm.folder}/checkpoints/best/weights", "model.preset=galactica-tiny")
    run = launch(1, "evaluate", "bare", *load, *CHECKED)
    assert completions(run) == completions(checked)


@pytest.mark.megatron
def test_a_hugging_face_folder_is_named_where_it_is_evaluated(
    launch: Launcher, warm: Run, checked: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "hf"
    to_huggingface(warm.folder / "checkpoints" / "best", folder, world=Axis())
    run = launch(1, "evaluate", "published", f"model.hf={folder}", *CHECKED)
    assert run.summary == {**checked.summary, "checkpoint": str(folder)}
    assert run.out[0].splitlines()[0].endswith(f", cpu, {folder}")


@pytest.mark.megatron
def test_a_training_run_is_not_overwritten(launch: Launcher, warm: Run) -> None:
    before = warm.content("**/*")
    message = launch.refused(1, "evaluate", "warm", "evaluate.split=dev")
    assert message == (
        f"reft-megatron: ConfigError: {warm.folder} holds the checkpoints of a training run, "
        "which evaluate would mix with its own results. Choose another run.name.\n"
    )
    assert warm.content("**/*") == before


@pytest.mark.megatron
def test_nothing_to_evaluate_on(launch: Launcher) -> None:
    message = launch.refused(1, "evaluate", "none", "evaluate.split=dev", "task.dev_size=0")
    assert message == (
        "reft-megatron: DataError: task svamp has no dev problems to evaluate on: raise "
        "task.dev_size, or choose another evaluate.split.\n"
    )
