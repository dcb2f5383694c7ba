"""What an evaluation leaves, by hand. (Of whole runs: test_evaluate.)"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reft_megatron.recipes.evaluation_files import (
    figures_table,
    write_completions,
    write_outcomes,
)
from reft_megatron.recipes.greedy import Answer
from reft_megatron.rewards.statistics import Estimate
from reft_megatron.types import Problem, Reason, Verdict

PROBLEMS = [Problem(id=f"p_{n}", question=f"How many is {n}?", answer=str(n)) for n in (2, 1)]
ANSWER = Answer(
    text="    return 1",
    verdict=Verdict(reason=Reason.WRONG_VALUE, value=1.0, detail="int"),
    reward=0.1,
)


def test_a_problem_without_an_answer_is_told(tmp_path: Path) -> None:
    path = tmp_path / "completions.jsonl"
    write_completions(path, PROBLEMS, {"p_2": ANSWER})
    asked, unasked = (json.loads(line) for line in path.read_text().splitlines())
    assert asked == {
        "id": "p_2", "problem": "How many is 2?", "answer": "2", "completion": "    return 1",
        "verdict": "wrong_value", "detail": "int", "value": 1.0, "reward": 0.1,
    }  # fmt: skip
    assert (unasked["id"], unasked["verdict"]) == ("p_1", "not asked or not judged")
    assert (unasked["completion"], unasked["value"], unasked["reward"]) == ("", None, None)


def test_outcomes_are_in_the_order_of_the_problems(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.json"
    write_outcomes(path, PROBLEMS, {"top-1": np.array([True, False]), "pass@2": np.array([0.5, 1])})
    tree = json.loads(path.read_text())
    assert tree == {"problems": ["p_2", "p_1"], "top-1": [1.0, 0.0], "pass@2": [0.5, 1.0]}


@pytest.mark.parametrize(
    ("reranker", "told"),
    [
        ({}, "from all. Intervals"),
        ({"reranker": {"auc": None, "loss": 0.5}}, "probabilities. Intervals"),
        ({"reranker": {"auc": 0.8, "loss": 0.5}}, "AUC over the samples is 0.800, its log-loss "
         "0.500. Intervals"),
    ],
)  # fmt: skip
def test_the_table_says_how_to_read_it(reranker: dict[str, Any], told: str) -> None:
    figures = {"top-1": Estimate(value=0.5, low=0.25, high=0.755)}
    table = figures_table({"num_problems": 2, "split": "dev", **reranker}, figures)
    assert table.title == "Accuracy on 2 dev problems"
    assert table.rows == [("top-1", "50.0%", "25.0% to 75.5%")]
    assert told in table.note
