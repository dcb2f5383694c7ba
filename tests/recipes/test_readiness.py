"""A run starts in a folder that can be written, with a reward that meets its bar."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from reft_megatron.config import Config, load_config
from reft_megatron.errors import ConfigError, DataError, TrainingError
from reft_megatron.mesh import Axis, Mesh
from reft_megatron.recipes.readiness import check_reward, make_folder
from reft_megatron.tasks import load_task

SMALL = ("task.train_size=4", "task.dev_size=1", "task.test_size=1")
"""Problems to generate: none is asked."""


def demand(*settings: str) -> None:
    config: Config = load_config(None, ["rewards.timeout_s=1", *SMALL, *settings])
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
    demand("rewards.audit=built")


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
        demand("task.name=svamp", f"task.test={test}", "task.train_size=0", "rewards.audit=built")


def test_every_rank_that_judges_loads_the_reward_and_one_audits(tmp_path: Path) -> None:
    rows = '{"id": "a", "question": "?", "answer": 3}\n{"id": "b", "question": "!", "answer": 4}\n'
    (tmp_path / "own.jsonl").write_text(rows)
    config = load_config(
        None,
        [
            "task.name=custom",
            f"task.train={tmp_path}/own.jsonl",
            "task.dev_size=1",
            f"task.reward={tmp_path}/none.py",
            "rewards.audit=built",
        ],
    )
    task, one = load_task(config.task), Mesh.single()
    other = dataclasses.replace(one, world=Axis(rank=1))
    with pytest.raises(ConfigError, match=r"there is no file .*none\.py"):
        check_reward(config, task, other)
    (tmp_path / "none.py").write_text("def reward(problem, completion): ...")
    check_reward(config, task, other)
    with pytest.raises(ConfigError, match=r"with task\.reward nobody knows their labels"):
        check_reward(config, task, one)
    silent = dataclasses.replace(other, tensor=Axis(rank=1, size=2))
    (tmp_path / "none.py").unlink()
    check_reward(config, task, silent)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot make the run's folder .* Choose another run"):
        make_folder(tmp_path / "file" / "run")
