"""Iterations: a policy answers some problems, and learns from what it said.

Owns what PPO and online self-training share: which problems an iteration asks, the way of their
rollouts into the buffer and the ledger, several optimizer steps on one batch, and the run from the
first iteration that is not done to the last. Problems come from an endless stream of shuffled
epochs and samples from noise keyed by (seed, iteration, problem), so the iteration number is all
the state there is beside weights and optimizer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from reft_megatron.config import OnlineSlConfig, PpoConfig
from reft_megatron.policy import Policy, StepStats
from reft_megatron.policy.update import Loss
from reft_megatron.recipes.collection import Collection
from reft_megatron.recipes.order import take
from reft_megatron.recipes.ppo_metrics import rollout_metrics
from reft_megatron.recipes.selection import close_unit
from reft_megatron.recipes.session import Session
from reft_megatron.recipes.supervised import training_problems
from reft_megatron.rollouts.batch import MicroBatch
from reft_megatron.rollouts.buffer import RolloutBuffer
from reft_megatron.types import Problem

__all__ = ["Batch", "Iterations"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What an iteration learns from."""

    problems: Sequence[Problem]
    """The problems asked, in order; one may stand there twice where an epoch ends."""
    buffer: RolloutBuffer
    """Their judged rollouts, filled in and not yet distributed."""
    metrics: dict[str, float]
    """What is known of them so far."""


class Iterations:
    """The iterations of a run; every rank calls everything."""

    def __init__(self, session: Session, settings: PpoConfig | OnlineSlConfig) -> None:
        """Raises ConfigError if no training problem, or a dev problem, can be asked."""
        self._session, self._settings = session, settings
        given = training_problems(session)
        self.problems = session.answerer.fitting(given, trained=True)
        """The training problems that can be asked."""
        self._left_out = len(given) - len(self.problems)
        self._collection: Collection

    @property
    def steps(self) -> int:
        """Optimizer steps of all iterations."""
        return self._settings.iterations * self._settings.updates_per_batch

    def run(self, policy: Policy, *, first: int, iterate: Callable[[int], None]) -> dict[str, Any]:
        """`iterate` from iteration `first` to the last; returns the summary.

        Each ends with `close_unit`. A run that is told to stop saves and ends between two.
        """
        session, last = self._session, self._settings.iterations
        self._collection = Collection(session, first=first, last=last)
        for number in range(first, last + 1):
            if session.stopping():
                return session.interrupted(policy, number - 1)
            iterate(number)
            close_unit(
                session,
                policy,
                step=number,
                unit=number,
                last=last,
                evaluate_every=self._settings.evaluate_every,
            )
        return session.finish(
            {"iterations": last, "steps": policy.version, "best_dev": session.best}
        )

    def sample(self, policy: Policy, number: int) -> Batch:
        """The next problems, answered by the policy; every completion is judged."""
        session, settings = self._session, self._settings
        seed, size = session.config.run.seed, settings.batch_size
        problems = take(self.problems, start=(number - 1) * size, count=size, seed=seed)
        rollouts = self._collection.collect(
            policy,
            problems,
            samples=settings.samples_per_problem,
            sampling=session.answerer.sampling(seed * 1_000_003 + number),
            iteration=number,
        )
        buffer = RolloutBuffer(session.mesh, pad_id=session.tokenizer.pad_id)
        buffer.fill(rollouts)
        asked = len(problems) * settings.samples_per_problem
        metrics = rollout_metrics(buffer.rollouts, asked=asked)
        return Batch(problems=problems, buffer=buffer, metrics=metrics)

    def keep(self, buffer: RolloutBuffer, number: int) -> None:
        """Write the distributed rollouts to the ledger, with the scores put so far."""
        self._collection.keep(buffer, number)

    def update(
        self,
        policy: Policy,
        batches: Sequence[MicroBatch],
        *,
        loss: Loss,
        ids: Sequence[str],
        tokens: int,
        number: int,
        dropout: bool = False,
    ) -> StepStats:
        """`updates_per_batch` optimizer steps on the same `batches`; returns the last.

        The batches' indices count `ids`; all ranks together hold `tokens`.
        """
        session, passes = self._session, self._settings.updates_per_batch
        with session.log.phase("update", passes * tokens, "tokens") as phase:
            for _ in range(passes):
                stats = policy.update(batches, loss=loss, dropout=dropout)
                session.count_skip(stats, number, ids)
                phase.advance(tokens)
        return stats

    def record(self, number: int, metrics: dict[str, float]) -> None:
        """Log what came of an iteration."""
        passes = number * self._settings.batch_size / len(self.problems)
        own = {"train/epoch": passes, "prompts/dropped": self._left_out}
        self._session.log.record(number, metrics | own)
