"""The end of an epoch or iteration: evaluate, keep the best, save, show.

Owns when these are due. Checkpoints are selected on the dev split and on nothing else.
"""

from __future__ import annotations

from reft_megatron.policy import Policy
from reft_megatron.recipes.evaluate import top1
from reft_megatron.recipes.session import Session

__all__ = ["close_unit", "due"]


def due(done: int, every: int, last: int) -> bool:
    """True if something done every `every` units (0: only at the end) is due after `done`."""
    return done == last or (every > 0 and done % every == 0)


def close_unit(
    session: Session, policy: Policy, *, step: int, unit: int, last: int, evaluate_every: int
) -> None:
    """End `unit` of `last`, an epoch or an iteration, at `step`.

    Greedy accuracy on the dev split (if it has problems) is recorded; a new best is saved at once.
    """
    improved = False
    dev = session.task.problems("dev")
    if dev and due(unit, evaluate_every, last):
        accuracy = top1(session, policy, dev)
        session.log.record(step, {"eval/dev_accuracy": accuracy})
        improved = session.is_best(accuracy, step)
    if improved or due(unit, session.config.checkpoint.every, last):
        session.save(policy, step)
    session.log.record(step, session.log.timings())
    if due(unit, session.config.log.table_every, last):
        session.log.table(step, total=step * last // unit)
