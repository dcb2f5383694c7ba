"""A run starts in a folder that can be written, with a reward that meets its bar."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reft_megatron.config import Config, load_config
from reft_megatron.errors import ConfigError, DataError, TrainingError
from reft_megatron.mesh import Mesh
from reft_megatron.recipes.readiness import check_reward, make_folder
from reft_megatron.tasks import load_task


def demand(*settings: str) -> None:
    config: Config = load_config(None, ["rewards.timeout_s=1", *settings])
    check_reward(config, load_task(config.task), Mesh.single())


def labels(path: Path, *rows: tuple[str, str]) -> str:
    """A file of answers to a problem with the gold answer 3, with labels."""
    texts = [
        {"id": "a_1", "answer": "3", "completion": f"def solution():\n    return {r}", "label": lab}
        for r, lab in rows
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in texts))
    return f"rewards.audit={path}"


def test_a_reward_that_is_right_passes(tmp_path: Path) -> None:
    demand()
    demand(labels(tmp_path / "a.jsonl", ("3", "right"), ("4", "wrong")))
    demand("rewards.audit=built", "task.train_size=4")


def test_one_that_pays_for_wrong_answers_ends_the_run(tmp_path: Path) -> None:
    file = labels(tmp_path / "a.jsonl", ("3", "right"), ("3.005", "wrong"), ("4", "wrong"))
    with pytest.raises(TrainingError, match=r"1 false positives of 2 cases labelled wrong"):
        demand(file)
    demand(file, "rewards.max_false_positive_rate=0.5")


def test_false_negatives_end_a_run_that_says_so(tmp_path: Path) -> None:
    file = labels(tmp_path / "a.jsonl", ("'3 apples'", "right"), ("4", "wrong"))
    demand(file)
    with pytest.raises(TrainingError, match=r"1 false negatives of 1 cases labelled right"):
        demand(file, "rewards.max_false_negative_rate=0.5")


def test_cases_that_cannot_be_had(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No such file"):
        demand(f"rewards.audit={tmp_path}/none.jsonl")
    test = tmp_path / "test.json"
    test.write_text('[{"item_id": "svamp_1", "question": "Q?", "answer_value": "3"}]')
    with pytest.raises(DataError, match=r"has no train problems"):
        demand("task.name=svamp", f"task.test={test}", "rewards.audit=built")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot make the run's folder .* Choose another run"):
        make_folder(tmp_path / "file" / "run")
