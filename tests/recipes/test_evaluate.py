"""Evaluation: a whole run of it; its votes against slow references: test_ballots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reft_megatron.mesh import Axis
from reft_megatron.policy.huggingface import to_huggingface
from tests.launch import Launcher, Run

UNASKED = "not asked or not judged"
METRICS = {"dev_accuracy": "top1", "vote_accuracy": "vote"}
CHECKED = ("evaluate.split=dev", "evaluate.samples=3")


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
    assert checked.summary["figures"]["top-1"]["value"] == checked.summary["top1"]
    recorded = {"step": 0} | {f"eval/{k}": checked.summary[v] for k, v in METRICS.items()}
    assert checked.metrics == [recorded]


@pytest.mark.megatron
def test_every_figure_is_told_with_its_interval_and_its_outcomes(checked: Run) -> None:
    figures = checked.summary["figures"]
    names = ["top-1", "vote@1", "vote@2", "vote@3", "pass@1", "pass@2", "pass@3"]
    assert list(figures) == names
    outcomes = json.loads((checked.folder / "outcomes.json").read_text())
    assert list(outcomes) == ["problems", *names]
    assert outcomes["problems"] == [row["id"] for row in completions(checked)]
    for name, figure in figures.items():
        assert figure["value"] == pytest.approx(np.mean(outcomes[name]))
        assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1
    assert figures["vote@3"]["value"] == checked.summary["vote"]
    assert figures["pass@1"]["value"] <= figures["pass@2"]["value"] <= figures["pass@3"]["value"]
    shown = "\n".join(checked.out[0].splitlines())
    page = (checked.folder / "report.html").read_text()
    assert "Accuracy on 8 dev problems" in shown
    assert "<h2>Accuracy on 8 dev problems</h2>" in page
    for name, figure in figures.items():
        assert f"{figure['low']:.1%} to {figure['high']:.1%}" in shown
        assert f"<td>{name}</td><td>{figure['value']:.1%}</td>" in page


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
        f"reft-megatron: ConfigError: {warm.folder} holds a run of the recipe sft, and this is "
        "evaluate, which would mix its results with those. Choose another run.name.\n"
    )
    assert warm.content("**/*") == before


@pytest.mark.megatron
def test_nothing_to_evaluate_on(launch: Launcher) -> None:
    message = launch.refused(1, "evaluate", "none", "evaluate.split=dev", "task.dev_size=0")
    assert message == (
        "reft-megatron: DataError: task svamp has no dev problems to evaluate on: raise "
        "task.dev_size, or choose another evaluate.split.\n"
    )
