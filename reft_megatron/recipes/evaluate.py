"""Evaluate: greedy top-1, and the majority vote over samples.

Top-1 is one greedy completion a problem, judged by the same program checker that rewards training.
Vote@k samples k completions a problem at the training temperature and takes the most frequent
answer (paper section 4.3); a completion without an answer has no vote, ties go to the answer seen
first. Both are accuracies over all problems: a prompt too long to ask counts as wrong, and so does
a completion that could not be judged.

Leaves `completions.jsonl` (each problem with its completion, verdict and reward) and `summary.json`
in the run's folder. The test split is for this recipe; nothing is ever selected on it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reft_megatron.config import Config
from reft_megatron.errors import DataError
from reft_megatron.files import write_whole
from reft_megatron.ops.sampling import Sampling
from reft_megatron.policy import Policy
from reft_megatron.recipes.session import Session
from reft_megatron.rewards import majority
from reft_megatron.types import Problem, Rollout, Verdict

__all__ = ["run", "top1"]


def run(config: Config) -> dict[str, Any]:
    """Evaluate the weights of `model.load` or `model.hf` on a split and return the summary."""
    with Session(config, "evaluate") as session:
        split, samples = config.evaluate.split, config.evaluate.samples
        problems = _problems(session)
        policy = session.build(total_steps=None)
        session.start_untrained(policy)
        greedy = _ask(session, policy, problems, samples=1, sampling=Sampling(greedy=True))
        summary: dict[str, Any] = {
            "split": split,
            "num_problems": len(problems),
            "top1": _accuracy(greedy, problems),
            "checkpoint": session.origin,
        }
        metrics = {f"eval/{split}_accuracy": summary["top1"]}
        if samples:
            sampling = session.answerer.sampling(config.run.seed)
            sampled = _ask(session, policy, problems, samples=samples, sampling=sampling)
            summary["samples"] = samples
            summary["vote"] = metrics["eval/vote_accuracy"] = _vote(sampled, problems)
        session.log.record(0, {**metrics, **session.log.timings()})
        if session.mesh.main:
            _write_completions(session.folder / "completions.jsonl", problems, greedy)
        return session.finish(summary)


def top1(session: Session, policy: Policy, problems: Sequence[Problem]) -> float:
    """Share of `problems` whose greedy completion is right; every rank calls and learns it."""
    greedy = _ask(session, policy, problems, samples=1, sampling=Sampling(greedy=True))
    return _accuracy(greedy, problems)


def _problems(session: Session) -> Sequence[Problem]:
    settings = session.config.evaluate
    problems = session.task.problems(settings.split)
    if not problems:
        raise DataError(
            f"task {session.task.name} has no {settings.split} problems to evaluate on: raise "
            f"task.{settings.split}_size, or choose another evaluate.split."
        )
    return problems[: settings.max_problems or None]


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
        answers = answerer.answers(hearing)
    parts = session.mesh.world.gather_objects(answers.rollouts or [])
    rollouts = [rollout for part in parts for rollout in part]
    return sorted(rollouts, key=lambda r: (r.completion.problem_id, r.completion.sample))


def _vote(rollouts: Sequence[Rollout], problems: Sequence[Problem]) -> float:
    """Share of problems whose majority answer is right."""
    verdicts: dict[str, list[Verdict]] = defaultdict(list)
    for rollout in rollouts:
        verdicts[rollout.completion.problem_id].append(rollout.verdict)
    right = 0
    for votes in verdicts.values():
        winner = majority([verdict.value for verdict in votes])
        right += winner is not None and votes[winner].correct
    return right / len(problems)


def _accuracy(rollouts: Sequence[Rollout], problems: Sequence[Problem]) -> float:
    return sum(rollout.verdict.correct for rollout in rollouts) / len(problems)


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
