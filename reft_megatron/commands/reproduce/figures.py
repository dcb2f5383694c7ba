"""The figures of finished evaluations, and their differences.

Owns putting them together. Intervals are those of drawing the problems anew; how much training
itself varies is for several seeds to say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reft_megatron.commands.outcomes import read_outcomes
from reft_megatron.commands.reproduce.identity import read_record
from reft_megatron.commands.reproduce.names import largest
from reft_megatron.commands.reproduce.paper import PAPER
from reft_megatron.commands.reproduce.pipeline import Pipeline, Row
from reft_megatron.commands.reproduce.results import Method, Results
from reft_megatron.errors import DataError
from reft_megatron.rewards.statistics import Estimate, paired_bootstrap

__all__ = ["gather"]

_OVER = {"vote": "top-1", "rerank": "vote", "weighted": "vote"}
"""Way to choose an answer -> what it has to beat."""
_Outcomes = Mapping[str, Mapping[str, float]]
"""Figure -> problem id -> outcome in 0..1."""


def gather(pipeline: Pipeline) -> Results:
    """The results of a pipeline that has been run to its end.

    Raises DataError if an evaluation is missing or damaged, or if those of a seed answered
    different problems.
    """
    methods: list[Method] = []
    asked: set[tuple[str, int]] = set()
    for seed in pipeline.seeds:
        baseline = next((row for row in pipeline.rows if row.role == "baseline"), None)
        yardstick = read_outcomes(pipeline.folder_of(baseline.stage, seed)) if baseline else None
        for row in pipeline.rows:
            evaluation = pipeline.folder_of(row.stage, seed)
            summary = _read(evaluation / "summary.json")
            asked.add((summary["split"], summary["num_problems"]))
            own = None if row is baseline else yardstick
            methods.append(_method(pipeline, row, seed, summary=summary, yardstick=own))
    if len(asked) > 1:
        raise DataError(
            f"the methods of {pipeline.folder} answered different problems, {sorted(asked)}: give "
            "all stages that evaluate the same `evaluate.split`, `evaluate.max_problems` and "
            "`task.test_size`."
        )
    split, count = asked.pop()
    return Results(
        name=pipeline.name,
        title=pipeline.title,
        folder=pipeline.results,
        split=split,
        num_problems=count,
        seeds=pipeline.seeds,
        methods=tuple(methods),
        stage_seconds={name: _seconds(pipeline, name, pipeline.seeds) for name in pipeline.stages},
    )


def _method(
    pipeline: Pipeline,
    row: Row,
    seed: int,
    *,
    summary: Mapping[str, Any],
    yardstick: _Outcomes | None,
) -> Method:
    stage = pipeline.stages[row.stage]
    folder = pipeline.folder_of(row.stage, seed)
    outcomes = read_outcomes(folder)
    runs = _runs(pipeline, row.stage)
    ledger = stage.inputs.get("evaluate.ledger")
    reranker = stage.inputs.get("evaluate.reranker")
    figures = {name: Estimate(**estimate) for name, estimate in summary["figures"].items()}
    shared = [name for name in figures if yardstick and name in yardstick]
    return Method(
        name=row.name,
        role=row.role,
        meaning=row.meaning,
        seed=seed,
        runs=tuple(pipeline.folder_of(name, seed) for name in runs),
        evaluation=folder,
        ledger=pipeline.path_of(ledger, seed) if ledger else None,
        reranker=pipeline.folder_of(reranker.stage, seed) if reranker else None,
        auc=summary.get("reranker", {}).get("auc"),
        seconds=_seconds(pipeline, runs[-1], [seed]) if runs else 0.0,
        figures=figures,
        differences={
            name: paired_bootstrap(outcomes[name], yardstick[name]) for name in shared if yardstick
        },
        paper=PAPER.get(row.paper, {}),
        gains=_gains(outcomes),
    )


def _runs(pipeline: Pipeline, name: str) -> list[str]:
    """The stages that trained what a stage starts from, the first one first."""
    source = pipeline.stages[name].inputs.get("model.load")
    return [*_runs(pipeline, source.stage), source.stage] if source else []


def _gains(outcomes: _Outcomes) -> dict[str, Estimate]:
    """Each way to choose among the most samples against what it has to beat."""
    gains = {}
    for way, under in _OVER.items():
        better = largest(outcomes, way)
        plain = under if under == "top-1" else f"{under}@{(better or '').partition('@')[2]}"
        if better and plain in outcomes:
            gains[f"{better} - {plain}"] = paired_bootstrap(outcomes[better], outcomes[plain])
    return gains


def _seconds(pipeline: Pipeline, stage: str, seeds: Sequence[int]) -> float:
    records = [read_record(pipeline.folder_of(stage, seed)) for seed in seeds]
    return sum(record.seconds for record in records if record)


def _read(path: Path) -> dict[str, Any]:
    try:
        tree: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        raise DataError(
            f"{path} is not there or not whole: run the pipeline to its end (`--dry-run` shows "
            "what there is to do)."
        ) from None
    return tree
