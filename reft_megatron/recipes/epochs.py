"""Passes over a fixed set of examples, in batches.

Owns the order of the examples, a function of (seed, epoch), and with it the way to go on: the
position in the data is the number of steps taken and nothing else. A run may stop between any two
steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reft_megatron.policy import Policy
from reft_megatron.recipes.order import epoch_order
from reft_megatron.recipes.selection import Evaluate, close_unit, dev_accuracy
from reft_megatron.recipes.session import Session

__all__ = ["Epochs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Epochs:
    """A plan of passes; each visits every example once."""

    lengths: Sequence[int]
    """Tokens of each example."""
    batch_size: int
    """Examples per optimizer step; the last step of a pass may have fewer."""
    count: int
    """Passes that the schedule is laid out for."""
    seed: int
    """Of the order."""

    @property
    def steps_each(self) -> int:
        """Optimizer steps of a pass."""
        return -(-len(self.lengths) // self.batch_size)

    @property
    def steps(self) -> int:
        """Optimizer steps of all passes."""
        return self.count * self.steps_each

    def batches(self, epoch: int) -> list[list[int]]:
        """The examples of each step of pass `epoch` (1-based)."""
        order, size = epoch_order(len(self.lengths), seed=self.seed, epoch=epoch), self.batch_size
        return [order[start : start + size] for start in range(0, len(order), size)]

    def run(
        self,
        session: Session,
        policy: Policy,
        *,
        step: Callable[[list[int]], object],
        last: int,
        evaluate_every: int,
        evaluate: Evaluate = dev_accuracy,
    ) -> bool:
        """Take `step` on each batch, from where `policy` stands to the end of pass `last`.

        Each pass ends with `close_unit`. False if the run was told to stop before the last step.
        """
        for epoch in range(policy.version // self.steps_each + 1, last + 1):
            rest = self.batches(epoch)[policy.version % self.steps_each :]
            if not self._take(session, rest, step):
                return False
            session.log.record(policy.version, {"train/epoch": epoch})
            close_unit(
                session,
                policy,
                step=policy.version,
                unit=epoch,
                last=last,
                evaluate_every=evaluate_every,
                evaluate=evaluate,
            )
        return True

    def _take(
        self, session: Session, batches: list[list[int]], step: Callable[[list[int]], object]
    ) -> bool:
        sizes = [sum(self.lengths[i] for i in batch) for batch in batches]
        with session.log.phase("update", sum(sizes), "tokens") as phase:
            for batch, size in zip(batches, sizes, strict=True):
                if session.stopping():
                    return False
                step(batch)
                phase.advance(size)
        return True
