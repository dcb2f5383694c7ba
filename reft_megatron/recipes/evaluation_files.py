"""What an evaluation leaves for people and for tools, beside its ballots.

Owns `completions.jsonl`, `outcomes.json`, and the table that terminal and report show.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reft_megatron.files import write_whole
from reft_megatron.log.page import Table
from reft_megatron.recipes.greedy import Answer
from reft_megatron.rewards.statistics import Estimate, Outcomes
from reft_megatron.types import UNJUDGED, Problem

__all__ = ["figures_table", "write_completions", "write_outcomes"]


def write_completions(
    path: Path, problems: Sequence[Problem], answers: Mapping[str, Answer]
) -> None:
    """One JSON line a problem, in the order of the split, with its greedy answer.

    One that has none has `UNJUDGED` for a verdict, and no reward.
    """
    lines = []
    for problem in problems:
        row = {"id": problem.id, "problem": problem.question, "answer": problem.answer}
        lines.append(json.dumps(row | _told(answers.get(problem.id))) + "\n")
    write_whole(path, "".join(lines))


def write_outcomes(
    path: Path, problems: Sequence[Problem], outcomes: Mapping[str, Outcomes]
) -> None:
    """The figures' outcomes in 0..1, one array each, in the order of `problems`."""
    content: dict[str, Any] = {"problems": [problem.id for problem in problems]}
    for name, array in outcomes.items():
        content[name] = np.asarray(array, np.float64).tolist()
    write_whole(path, json.dumps(content) + "\n")


def figures_table(summary: Mapping[str, Any], figures: Mapping[str, Estimate]) -> Table:
    """Every figure with its interval, and how to read them; `summary` is that of the run."""
    rows = [(name, f"{f.value:.1%}", f"{f.low:.1%} to {f.high:.1%}") for name, f in figures.items()]
    note = "Top-1 is greedy, votes are over the first k samples, pass@k is estimated from all. "
    if "reranker" in summary:
        note += "Rerank@k takes the best-scored of the first k, weighted@k sums probabilities. "
        auc, loss = summary["reranker"]["auc"], summary["reranker"]["loss"]
        if auc is not None:
            note += f"The reranker's AUC over the samples is {auc:.3f}, its log-loss {loss:.3f}. "
    return Table(
        title=f"Accuracy on {summary['num_problems']} {summary['split']} problems",
        header=("", "right", "95% interval"),
        rows=rows,
        note=f"{note}Intervals are those of drawing the problems anew.",
    )


def _told(answer: Answer | None) -> dict[str, Any]:
    if answer is None:
        text, verdict, detail, value, reward = "", UNJUDGED, "", None, None
    else:
        text, verdict, reward = answer.text, answer.verdict.reason.value, answer.reward
        detail, value = answer.verdict.detail, answer.verdict.value
    return {
        "completion": text,
        "verdict": verdict,
        "detail": detail,
        "value": value,
        "reward": reward,
    }
