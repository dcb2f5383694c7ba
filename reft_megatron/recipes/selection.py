"""The end of an epoch or iteration: evaluate, keep the best, save, show.

Owns when these are due. Checkpoints are selected on the dev split and on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from reft_megatron.policy import Policy
from reft_megatron.recipes.greedy import top1
from reft_megatron.recipes.session import Session

__all__ = ["Evaluate", "close_unit", "dev_accuracy", "due"]

Evaluate: TypeAlias = Callable[[Session, Policy], tuple[dict[str, float], float] | None]
"""Metrics on the dev split and what to select by, the higher the better; None without one."""


def due(done: int, every: int, last: int) -> bool:
    """True if something done every `every` units (0: only at the end) is due after `done`."""
    return done == last or (every > 0 and done % every == 0)


def dev_accuracy(session: Session, policy: Policy) -> tuple[dict[str, float], float] | None:
    """Greedy accuracy on the dev split, if it has problems."""
    dev = session.task.problems("dev")
    if not dev:
        return None
    accuracy = top1(session, policy, dev)
    return {"eval/dev_accuracy": accuracy}, accuracy


def close_unit(
    session: Session,
    policy: Policy,
    *,
    step: int,
    unit: int,
    last: int,
    evaluate_every: int,
    evaluate: Evaluate = dev_accuracy,
) -> None:
    """End `unit` of `last`, an epoch or an iteration, at `step`.

    What `evaluate` finds is recorded; a new best is saved at once.
    """
    improved = False
    found = evaluate(session, policy) if due(unit, evaluate_every, last) else None
    if found is not None:
        metrics, score = found
        session.log.record(step, metrics)
        improved = session.is_best(score, step)
    if improved or due(unit, session.config.checkpoint.every, last):
        session.save(policy, step)
    session.log.record(step, session.log.timings())
    if due(unit, session.config.log.table_every, last):
        session.log.table(step, total=step * last // unit)
