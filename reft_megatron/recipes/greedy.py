"""Greedy answers: one completion a problem, and nothing drawn.

Owns top-1, by which checkpoints are selected and methods compared. What ranks tell each other is
what a greedy answer is judged by, never its tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reft_megatron.ops.sampling import Sampling
from reft_megatron.policy import Policy
from reft_megatron.recipes.session import Session
from reft_megatron.types import Problem, Rollout, Verdict

__all__ = ["Answer", "greedy_answers", "top1"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a problem that was asked."""

    text: str
    """The completion."""
    verdict: Verdict
    """What the checker said."""
    reward: float
    """What it was worth."""


def greedy_answers(
    session: Session, policy: Policy, problems: Sequence[Problem]
) -> dict[str, Answer]:
    """By problem; every rank calls and learns them.

    A problem whose prompt is too long has none, and neither has one that could not be judged.
    """
    own = {
        rollout.completion.problem_id: Answer(
            text=rollout.text, verdict=rollout.verdict, reward=rollout.reward
        )
        for rollout in _ask(session, policy, problems)
    }
    parts = session.mesh.world.gather_objects(own)
    return {name: answer for part in parts for name, answer in part.items()}


def top1(session: Session, policy: Policy, problems: Sequence[Problem]) -> float:
    """Share of `problems` whose greedy completion is right; every rank calls and learns it."""
    own = sum(rollout.verdict.correct for rollout in _ask(session, policy, problems))
    return sum(session.mesh.world.gather_objects(own)) / len(problems)


def _ask(session: Session, policy: Policy, problems: Sequence[Problem]) -> list[Rollout]:
    """Judged completions of this replica, on its writer; none elsewhere."""
    answerer = session.answerer
    asked = answerer.fitting(problems)
    with session.log.phase("evaluate", None, "tokens") as phase:
        hearing = answerer.ask(
            policy, asked, samples=1, sampling=Sampling(greedy=True), advance=phase.advance
        )
        return answerer.answers(hearing) or []
