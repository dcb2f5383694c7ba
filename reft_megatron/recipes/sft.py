"""Supervised fine-tuning: the warm-up of ReFT, and the baseline it is measured against.

The model learns to write each training problem's one gold chain of thought, token by token (paper
equation 1). ReFT starts from an *early* checkpoint of such a run, while its learning rate still
climbs: `sft.stop_after_epoch` ends the run there and leaves the schedule as if it went on. The
baseline is the same run to its end, with the checkpoint that answers most dev problems.

An epoch visits every problem once, in an order that is a function of (seed, epoch), so the position
in the data is the number of steps taken and nothing else. After each `sft.evaluate_every` epochs the
dev split is answered greedily; the best checkpoint is kept.
"""

from __future__ import annotations

from typing import Any

from reft_megatron.config import Config
from reft_megatron.policy import Policy, StepStats, find_architecture
from reft_megatron.recipes.answering import Answerer
from reft_megatron.recipes.evaluate import top1
from reft_megatron.recipes.order import epoch_order
from reft_megatron.recipes.session import Session, due
from reft_megatron.recipes.supervised import Document, encode_problem, supervised_step

__all__ = ["run"]


def run(config: Config) -> dict[str, Any]:
    """Train, keep the best and the last checkpoint, return the summary."""
    with Session(config, "sft") as session, session.answerer() as answerer:
        data = _Data(session)
        steps = data.steps_per_epoch * config.sft.epochs
        policy = Policy(config, session.mesh, session.tokenizer, total_steps=steps)
        session.start(policy)
        last = config.sft.stop_after_epoch or config.sft.epochs
        for epoch in range(policy.version // data.steps_per_epoch + 1, last + 1):
            if not _train_epoch(session, policy, data, epoch):
                return session.interrupted(policy, policy.version)
            _after_epoch(session, answerer, policy, epoch, last)
            session.log.table(policy.version, last * data.steps_per_epoch)
        return session.finish(
            {"epochs": last, "steps": policy.version, "best_dev": session.best}
        )


class _Data:
    """The training problems as documents, and which of them a step sees."""

    def __init__(self, session: Session) -> None:
        self._config = session.config
        room = find_architecture(session.config.model.preset).positions
        self._documents = [
            encode_problem(problem, session.task, session.tokenizer, room=room)
            for problem in session.task.problems("train")
        ]
        self.steps_per_epoch = -(-len(self._documents) // session.config.sft.batch_size)

    def batch(self, step: int) -> list[Document]:
        """The global batch of optimizer step `step`; the last one of an epoch may be smaller."""
        epoch, index = divmod(step, self.steps_per_epoch)
        order = epoch_order(len(self._documents), seed=self._config.run.seed, epoch=epoch)
        size = self._config.sft.batch_size
        return [self._documents[i] for i in order[index * size : (index + 1) * size]]


def _train_epoch(session: Session, policy: Policy, data: _Data, epoch: int) -> bool:
    """Train to the end of epoch `epoch` (1-based); False if the run was told to stop before."""
    with session.log.phase("update", None, "tokens") as phase:
        while policy.version < epoch * data.steps_per_epoch:
            batch = data.batch(policy.version)
            stats = supervised_step(policy, batch, session.config, session.mesh)
            session.count_skip(stats, policy.version, [document.id for document in batch])
            session.log.record(policy.version, _metrics(session, stats))
            phase.advance(sum(len(document.tokens) for document in batch))
            if session.stopping():
                return False
    session.log.record(policy.version, {"train/epoch": epoch, **session.log.timings()})
    return True


def _after_epoch(
    session: Session, answerer: Answerer, policy: Policy, epoch: int, last: int
) -> None:
    improved = False
    if due(epoch, session.config.sft.evaluate_every, last):
        accuracy = top1(session, answerer, policy, session.task.problems("dev"))
        session.log.record(
            policy.version, {"eval/dev_accuracy": accuracy, **session.log.timings()}
        )
        improved = session.is_best(accuracy)
    if improved or due(epoch, session.config.checkpoint.every, last):
        session.save(policy, policy.version, best=improved)


def _metrics(session: Session, stats: StepStats) -> dict[str, float]:
    return {
        "train/loss": stats.loss,
        "train/grad_norm": stats.grad_norm,
        "train/lr": stats.lr,
        "train/skipped_steps": session.skipped,
    }
