"""Tests of laying training runs behind one another."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from reft_megatron.commands.reproduce.report.training import learning_curves
from tests.commands.reproduce.test_names import METHOD


def write(folder: Path, records: list[dict[str, float]], times: list[dict[str, float]]) -> Path:
    folder.mkdir()
    for name, rows in (("metrics.jsonl", records), ("timing.jsonl", times)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_method_begins_where_the_run_before_it_ended(tmp_path: Path):
    base = write(tmp_path / "base", [{"step": 1}], [{"step": 1, "time/iteration": 900.0}])
    warmup = write(
        tmp_path / "warmup",
        [{"step": 8, "train/epoch": 2, "eval/dev_accuracy": 0.3}],
        [{"step": 4, "time/iteration": 5.0},
         {"step": 8, "time/iteration": 9.0, "time/evaluate": 3.0, "time/checkpoint": 1.0}],
    )  # fmt: skip
    own = write(
        tmp_path / "own",
        [{"step": 1, "train/epoch": 0.5},
         {"step": 2, "train/epoch": 1.0, "eval/dev_accuracy": 0.4},
         {"step": 4, "train/epoch": 2.0, "eval/dev_accuracy": 0.5}],
        [{"step": step, "time/iteration": 2.0} for step in range(1, 5)],
    )  # fmt: skip
    start = replace(METHOD, name="warm-up", runs=(base, warmup))
    goes_on = replace(METHOD, name="ReFT", runs=(base, warmup, own))
    first, second = learning_curves([start, goes_on])
    assert (first.passes, first.seconds, first.accuracy) == ((2.0,), (10.0,), (0.3,))
    assert (second.name, second.accuracy) == ("ReFT", (0.4, 0.5))
    assert (second.passes, second.seconds) == ((3.0, 4.0), (14.0, 18.0))


def test_passes_that_were_not_counted_are_not_made_up(tmp_path: Path):
    own = write(tmp_path / "own", [{"step": 2, "eval/dev_accuracy": 0.4}], [])
    (found,) = learning_curves([replace(METHOD, runs=(own,))])
    assert (found.passes, found.seconds) == ((), (0.0,))


def test_a_model_from_outside_and_a_run_without_evaluations_have_no_curve(tmp_path: Path):
    own = write(tmp_path / "own", [{"step": 2, "train/loss": 0.4}], [])
    assert learning_curves([METHOD, replace(METHOD, runs=(own,))]) == []
