"""A made-up reproduction on disk: what its stages would have left, small and hostile."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reft_megatron.commands.reproduce.results import Method, PaperCell, Results
from reft_megatron.config import Config, to_yaml
from reft_megatron.recipes.ballots import BALLOTS, Ballots, curves
from reft_megatron.rewards.statistics import bootstrap, paired_bootstrap
from reft_megatron.types import Reason, Verdict

NASTY = (
    "</script><script>document.title='owned'</script>"
    "<img src=x onerror=\"document.title='owned'\"> {{ 7 }} & '"
)
SKILLS = {"warm-up": 0.35, "SFT": 0.5, "Online-ST": 0.55, "ReFT": 0.66}
ROLES = {"warm-up": "start", "SFT": "baseline", "Online-ST": "rival", "ReFT": "ours"}
WRONG = (Reason.WRONG_VALUE, Reason.RUNTIME_ERROR, Reason.SYNTAX_ERROR, Reason.NO_SOLUTION)
RARE = (Reason.TIMEOUT, Reason.MEMORY, Reason.EXECUTOR_FAULT)
Ballot = dict[str, Any]


def results_of(
    folder: Path,
    *,
    seeds: Sequence[int] = (1,),
    problems: int = 40,
    samples: int = 8,
    steps: int = 60,
    skills: Mapping[str, float] = SKILLS,
) -> Results:
    """Four methods (or those of `skills`: top-1 of each) with all that a report can show."""
    methods: list[Method] = []
    for seed in seeds:
        yardstick: dict[str, dict[str, float]] = {}
        made = []
        for place, (name, skill) in enumerate(skills.items()):
            random = np.random.default_rng([seed, place])
            base = folder / "runs" / f"seed-{seed}"
            from_base = name in ("warm-up", "SFT")
            runs = (base / name,) if from_base else (base / "warm-up", base / name)
            write_run(runs[-1], name, skill=skill, steps=steps, random=random)
            evaluation = base / f"{name}-test"
            ballots = ballots_of(random, problems=problems, samples=samples, skill=skill)
            outcomes = write_evaluation(evaluation, ballots, random=random, skill=skill)
            if name == "SFT":
                yardstick = outcomes
            made.append((name, runs, evaluation, outcomes))
        for name, runs, evaluation, outcomes in made:
            methods.append(
                method_of(name, seed=seed, runs=runs, evaluation=evaluation, outcomes=outcomes,
                          yardstick={} if name == "SFT" else yardstick)
            )  # fmt: skip
    return Results(
        name="small",
        title="ReFT & co on <generated> problems",
        folder=folder / "results",
        split="test",
        num_problems=problems,
        seeds=tuple(seeds),
        methods=tuple(methods),
        stage_seconds={"warm-up": 43.0, "SFT": 115.2, "ReFT": 2731.0},
    )


def method_of(
    name: str,
    *,
    seed: int,
    runs: tuple[Path, ...],
    evaluation: Path,
    outcomes: Mapping[str, Mapping[str, float]],
    yardstick: Mapping[str, Mapping[str, float]],
) -> Method:
    most = max(int(figure.partition("@")[2] or 0) for figure in outcomes)
    pairs = [(f"vote@{most}", "top-1")]
    pairs += [(f"{way}@{most}", f"vote@{most}") for way in ("rerank", "weighted")]
    pairs = [(a, b) for a, b in pairs if a in outcomes]
    paper = {"top-1": PaperCell(share=0.684, source="table 2")} if name == "ReFT" else {}
    return Method(
        name=name,
        role=ROLES.get(name, "ablation"),  # type: ignore[arg-type]  # a literal
        meaning=f"How {name} was made.",
        seed=seed,
        runs=runs,
        evaluation=evaluation,
        ledger=None,
        reranker=None,
        auc=0.75,
        seconds=115.2,
        figures=bootstrap(
            {k: np.array(list(v.values())) for k, v in outcomes.items()}, resamples=500
        ),
        differences={
            figure: paired_bootstrap(outcomes[figure], yardstick[figure], resamples=500)
            for figure in outcomes
            if figure in yardstick
        },
        paper=paper | ({f"vote@{100}": PaperCell(share=0.707, source="table 4")} if paper else {}),
        gains={
            f"{a} - {b}": paired_bootstrap(outcomes[a], outcomes[b], resamples=500)
            for a, b in pairs
        },
    )


def ballots_of(
    random: np.random.Generator, *, problems: int, samples: int, skill: float
) -> dict[str, list[Ballot]]:
    """Samples of every problem; answers of easy problems are right more often."""
    found: dict[str, list[Ballot]] = {}
    for number in range(problems):
        ease = np.clip(random.normal(skill - 0.08, 0.34), 0.02, 0.98)
        gold = float(10 + number)
        own = []
        for sample in range(samples):
            right = bool(random.random() < ease)
            lot = random.random()
            reason = Reason.CORRECT if right else RARE[int(lot * 60)] if lot < 0.05 else (
                WRONG[min(int(random.exponential(0.8)), 3)]
            )  # fmt: skip
            value = {Reason.CORRECT: gold, Reason.WRONG_VALUE: gold + 1 + int(3 * lot)}.get(reason)
            margin = float(np.float32((2.1 if right else -1.2) + random.normal(0.0, 1.9)))
            own.append(
                {
                    "problem_id": f"arithmetic_{number}",
                    "sample": sample,
                    "reason": str(reason),
                    "value": value,
                    "right": right,
                    "text": program(number, value, reason),
                    "score": margin,
                }
            )
        found[f"arithmetic_{number}"] = own
    return found


def program(number: int, value: float | None, reason: Reason) -> str:
    body = f"    a = {10 + number}\n    b = {number % 7 + 2}\n    # {NASTY}\n"
    if reason is Reason.TIMEOUT:
        return body + "    while True:\n        a = a + b"
    if value is None:
        return body + "    result = a +* b"
    rest = 10 + number + number % 7 + 2 - value
    return body + f"    result = a + b - {rest:g}\n    return result"


def write_evaluation(
    folder: Path, ballots: Mapping[str, list[Ballot]], *, random: np.random.Generator, skill: float
) -> dict[str, dict[str, float]]:
    """The files of an evaluation; returns the outcomes of each figure by problem."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(to_yaml(Config()))
    rows = [row for own in ballots.values() for row in own]
    table = pa.Table.from_pylist(rows, schema=BALLOTS)
    pq.write_table(table, folder / "ballots.parquet")
    greedy = []
    for number, (problem, own) in enumerate(ballots.items()):
        eased = np.mean([row["right"] for row in own]) * 0.6 + skill * 0.4 > random.random() * 0.95
        like = next((row for row in own if row["right"] == bool(eased)), own[0])
        greedy.append(
            {
                "id": problem,
                "problem": f"dan has {number + 10} pears, eva {number % 7 + 2}. {NASTY} how many?",
                "answer": f"{10 + number}",
                "completion": like["text"],
                "verdict": like["reason"],
                "detail": "",
                "value": like["value"],
                "reward": 1.0,
            }
        )
    text = "".join(json.dumps(record) + "\n" for record in greedy)
    (folder / "completions.jsonl").write_text(text)
    arrays = {"top-1": np.array([record["verdict"] == "correct" for record in greedy])}
    return {
        name: dict(zip(ballots, np.asarray(array, float).tolist(), strict=True))
        for name, array in (arrays | outcomes_of([*ballots.values()])).items()
    }


def outcomes_of(ballots: Sequence[list[Ballot]]) -> dict[str, Any]:
    """Figures over k by the recipe's own counting."""
    verdicts = [
        [Verdict(reason=Reason(b["reason"]), value=b["value"]) for b in own] for own in ballots
    ]
    counted = Ballots(verdicts=verdicts, places=np.arange(len(ballots) * len(ballots[0])))
    margins = np.array([[ballot["score"] for ballot in own] for own in ballots], np.float32)
    return curves(counted, margins=margins)


def write_run(
    folder: Path, name: str, *, skill: float, steps: int, random: np.random.Generator
) -> None:
    """`metrics.jsonl` and `timing.jsonl`; sampled completions only of methods that sample."""
    if folder.exists():
        return
    folder.mkdir(parents=True)
    metrics, timing = [], []
    for step in range(1, steps + 1):
        done = step / steps
        climb = 1 - np.exp(-3.2 * done)
        record: dict[str, float] = {"step": step, "train/loss": float(0.4 - 0.3 * climb)}
        if name in ("ReFT", "Online-ST"):
            right = float(np.clip(0.35 + (skill - 0.2) * climb + random.normal(0.0, 0.03), 0, 1))
            crash = float(np.clip(0.25 * (1 - climb) + 0.02, 0, 1 - right))
            record |= {
                "verdict/correct": right,
                "verdict/runtime_error": crash,
                "verdict/wrong_value": max(0.0, 1 - right - crash - 0.01),
                "verdict/timeout": min(0.01, 1 - right - crash),
            }
        if name == "ReFT":
            record |= {
                "reward/mean": record["verdict/correct"] + 0.1 * record["verdict/wrong_value"],
                "kl/sequence": max(0.0, 5.5 * climb + 1.5 * done + random.normal(0.0, 0.25)),
            }
        time = {"step": step, "time/update": 1.0, "time/iteration": 2.5 if name == "ReFT" else 1.5}
        if step % max(steps // 12, 1) == 0:
            record["train/epoch"] = 12 * done
            record["eval/dev_accuracy"] = float(np.clip(
                0.25 + (skill - 0.22) * climb + random.normal(0.0, 0.012), 0, 1))  # fmt: skip
            time |= {"time/evaluate": 4.0, "time/checkpoint": 0.5, "time/iteration": 7.0}
        metrics.append(json.dumps(record) + "\n")
        timing.append(json.dumps(time) + "\n")
    (folder / "metrics.jsonl").write_text("".join(metrics))
    (folder / "timing.jsonl").write_text("".join(timing))
