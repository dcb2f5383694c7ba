"""Evaluate: greedy top-1, and of many samples the majority vote and pass@k.

Top-1 is one greedy completion a problem, judged by the same program checker that rewards training.
Vote@k takes the most frequent answer of k samples (paper section 4.3): a completion without an
answer has no vote, answers within 0.01 are one, ties go to the answer seen first. pass@k is how
likely k samples hold a right one. The samples are drawn here at the training temperature, or are
those that the recipe `sample` left in a ledger; k is 1, 2, 4, ... up to their number.

All are means over all problems, with 95 % intervals by the bootstrap over problems: a prompt too
long to ask counts as wrong, and so does a completion that could not be judged. Whether one method
is better than another is for `rewards.statistics.paired_bootstrap` to say, on their outcomes.

Leaves `completions.jsonl` (each problem with its completion, verdict and reward), `outcomes.json`
(each figure's outcome of each problem) and `summary.json` in the run's folder. The test split is
for this recipe; nothing is ever selected on it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reft_megatron.config import Config, EvaluateConfig, SampleConfig
from reft_megatron.errors import DataError
from reft_megatron.files import write_whole
from reft_megatron.log.page import Table
from reft_megatron.ops.sampling import Sampling
from reft_megatron.policy import Policy
from reft_megatron.recipes.ballots import Ballots, curves, sampled_ballots, stored_ballots
from reft_megatron.recipes.collection import ledger_at
from reft_megatron.recipes.session import Session
from reft_megatron.rewards.statistics import Estimate, Outcomes, bootstrap
from reft_megatron.rollouts.ledger import Ledger
from reft_megatron.types import Problem, Rollout

__all__ = ["problems_of", "run", "top1"]


def run(config: Config) -> dict[str, Any]:
    """Evaluate the weights of `model.load` or `model.hf` on a split and return the summary."""
    with Session(config, "evaluate") as session:
        settings = config.evaluate
        problems = problems_of(session, settings)
        ballots = _stored(session, problems) if settings.ledger else None
        policy = session.build(total_steps=None)
        session.start_untrained(policy)
        greedy = _ask(session, policy, problems, samples=1, sampling=Sampling(greedy=True))
        if ballots is None and settings.samples:
            ballots = _sampled(session, policy, problems)
        outcomes = {"top-1": _outcomes(greedy, problems)}
        if ballots:
            outcomes |= curves(ballots, exact=config.task.parity == "reference")
        figures = bootstrap(outcomes)
        summary: dict[str, Any] = {
            "split": settings.split,
            "num_problems": len(problems),
            "top1": figures["top-1"].value,
            "checkpoint": session.origin,
        }
        metrics = {f"eval/{settings.split}_accuracy": summary["top1"]}
        if ballots:
            summary["samples"] = samples = len(ballots[0])
            summary["vote"] = metrics["eval/vote_accuracy"] = figures[f"vote@{samples}"].value
        summary["figures"] = {name: dataclasses.asdict(f) for name, f in figures.items()}
        session.log.record(0, {**metrics, **session.log.timings()})
        if session.mesh.main:
            _write_completions(session.folder / "completions.jsonl", problems, greedy)
            _write_outcomes(session.folder / "outcomes.json", problems, outcomes)
        return session.finish(summary, tables=[_table(summary, figures)])


def top1(session: Session, policy: Policy, problems: Sequence[Problem]) -> float:
    """Share of `problems` whose greedy completion is right; every rank calls and learns it."""
    greedy = _ask(session, policy, problems, samples=1, sampling=Sampling(greedy=True))
    return float(_outcomes(greedy, problems).mean())


def problems_of(session: Session, settings: EvaluateConfig | SampleConfig) -> Sequence[Problem]:
    """The problems that a recipe which trains nothing is about; DataError if there are none."""
    split, problems = settings.split, session.task.problems(settings.split)
    if not problems:
        raise DataError(
            f"task {session.task.name} has no {split} problems to {session.recipe} on: raise "
            f"task.{split}_size, or choose another {session.recipe}.split."
        )
    return problems[: settings.max_problems or None]


def _stored(session: Session, problems: Sequence[Problem]) -> Ballots:
    """Ballots of `evaluate.ledger`, read by one rank for all."""
    config, world = session.config, session.mesh.world
    asked = {problem.id for problem in session.answerer.fitting(problems)}
    ballots: Ballots | None = None
    with world.together():
        if session.mesh.main:
            ledger = ledger_at(session, config.evaluate.ledger)
            _check_weights(session, ledger)
            ballots = stored_ballots(
                ledger,
                problems,
                asked=asked,
                samples=config.evaluate.samples,
                max_missing=config.rewards.max_fault_fraction,
            )
    return world.broadcast_object(ballots)


def _check_weights(session: Session, ledger: Ledger) -> None:
    """DataError if the ledger's completions are told to be of other weights than are evaluated."""
    origins = filter(None, map(ledger.origin, ledger.iterations()))
    if strange := {origin.weights for origin in origins} - {"", session.weights}:
        raise DataError(
            f"evaluate.ledger={session.config.evaluate.ledger} was sampled from other weights "
            f"({', '.join(sorted(strange))}) than are evaluated, those of "
            f"{session.origin or 'run.seed'} ({session.weights}): votes of one model would be told "
            "as another's. Name a ledger that was sampled from them."
        )


def _sampled(session: Session, policy: Policy, problems: Sequence[Problem]) -> Ballots:
    """Ballots of completions drawn now."""
    samples = session.config.evaluate.samples
    sampling = session.answerer.sampling(session.config.run.seed)
    rollouts = _ask(session, policy, problems, samples=samples, sampling=sampling)
    return sampled_ballots(rollouts, problems, samples=samples)


def _ask(
    session: Session,
    policy: Policy,
    problems: Sequence[Problem],
    *,
    samples: int,
    sampling: Sampling,
) -> list[Rollout]:
    """Judged completions of all problems, in order, on every rank."""
    answerer = session.answerer
    asked = answerer.fitting(problems)
    with session.log.phase("evaluate", None, "tokens") as phase:
        hearing = answerer.ask(
            policy, asked, samples=samples, sampling=sampling, advance=phase.advance
        )
        own = answerer.answers(hearing)
    parts = session.mesh.world.gather_objects(own or [])
    rollouts = [rollout for part in parts for rollout in part]
    return sorted(rollouts, key=lambda r: (r.completion.problem_id, r.completion.sample))


def _outcomes(rollouts: Sequence[Rollout], problems: Sequence[Problem]) -> Outcomes:
    """Whether each problem was answered right, of one rollout a problem at most, [N] bool."""
    right = {rollout.completion.problem_id for rollout in rollouts if rollout.verdict.correct}
    return np.array([problem.id in right for problem in problems])


def _table(summary: Mapping[str, Any], figures: Mapping[str, Estimate]) -> Table:
    rows = [(name, f"{f.value:.1%}", f"{f.low:.1%} to {f.high:.1%}") for name, f in figures.items()]
    return Table(
        title=f"Accuracy on {summary['num_problems']} {summary['split']} problems",
        header=("", "right", "95% interval"),
        rows=rows,
        note="Top-1 is greedy, votes are over the first k samples, pass@k is estimated from all. "
        "Intervals are those of drawing the problems anew.",
    )


def _write_outcomes(
    path: Path, problems: Sequence[Problem], outcomes: Mapping[str, Outcomes]
) -> None:
    """The figures' outcomes in 0..1, one array each, in the order of `problems`."""
    content: dict[str, Any] = {"problems": [problem.id for problem in problems]}
    for name, array in outcomes.items():
        content[name] = np.asarray(array, np.float64).tolist()
    write_whole(path, json.dumps(content) + "\n")


def _write_completions(
    path: Path, problems: Sequence[Problem], rollouts: Sequence[Rollout]
) -> None:
    """One JSON line a problem, in the order of the split."""
    by_id = {rollout.completion.problem_id: rollout for rollout in rollouts}
    lines = []
    for problem in problems:
        row = {"id": problem.id, "problem": problem.question, "answer": problem.answer}
        lines.append(json.dumps(row | _told(by_id.get(problem.id))) + "\n")
    write_whole(path, "".join(lines))


def _told(rollout: Rollout | None) -> dict[str, Any]:
    """What became of a problem; None if its prompt was too long, or the checker failed."""
    if rollout is None:
        text, verdict, detail, value, reward = "", "not asked or not judged", "", None, 0.0
    else:
        text, verdict = rollout.text, rollout.verdict.reason.value
        detail, value, reward = rollout.verdict.detail, rollout.verdict.value, rollout.reward
    return {
        "completion": text,
        "verdict": verdict,
        "detail": detail,
        "value": value,
        "reward": reward,
    }
