"""Supervised fine-tuning: the warm-up of ReFT, and its baseline.

The model learns to write each training problem's one gold chain of thought, token by token (paper
equation 1). ReFT starts from an *early* checkpoint of such a run, while its learning rate still
climbs: `sft.stop_after_epoch` ends the run there and leaves the schedule as if it went on. The
baseline is the same run to its end, with the checkpoint that answers most dev problems.

An epoch visits every problem once, in an order that is a function of (seed, epoch), so the position
in the data is the number of steps taken and nothing else. After each `sft.evaluate_every` epochs
the dev split is answered greedily; the best checkpoint is kept.
"""

from __future__ import annotations

from typing import Any

from reft_megatron.config import Config
from reft_megatron.policy import Policy
from reft_megatron.recipes.order import epoch_order
from reft_megatron.recipes.selection import close_unit
from reft_megatron.recipes.session import Session
from reft_megatron.recipes.supervised import Document, document, supervised_step

__all__ = ["run"]


def run(config: Config) -> dict[str, Any]:
    """Train, keep the best and the last checkpoint, return the summary."""
    with Session(config, "sft") as session:
        settings = config.sft
        documents = _documents(session)
        steps_per_epoch = -(-len(documents) // settings.batch_size)
        steps = steps_per_epoch * settings.epochs
        policy = session.build(total_steps=steps)
        session.start(policy)
        last = min(settings.stop_after_epoch or settings.epochs, settings.epochs)
        for epoch in range(policy.version // steps_per_epoch + 1, last + 1):
            done = policy.version % steps_per_epoch
            batches = _batches(documents, config, epoch)[done:]
            if not _train(session, policy, batches):
                return session.interrupted(policy, policy.version)
            session.log.record(policy.version, {"train/epoch": epoch})
            close_unit(
                session,
                policy,
                step=policy.version,
                unit=epoch,
                last=last,
                evaluate_every=settings.evaluate_every,
            )
        return session.finish({"epochs": last, "steps": policy.version, "best_dev": session.best})


def _documents(session: Session) -> list[Document]:
    """The training problems as documents; errors of the dev problems are met here too."""
    task = session.task
    if dev := task.problems("dev"):
        session.answerer.fitting(dev)
    return [
        document(session, *task.supervised_text(problem), name=problem.id)
        for problem in task.problems("train")
    ]


def _batches(documents: list[Document], config: Config, epoch: int) -> list[list[Document]]:
    """The global batches of epoch `epoch` (1-based); the last one may be smaller."""
    order = epoch_order(len(documents), seed=config.run.seed, epoch=epoch)
    size = config.sft.batch_size
    return [[documents[i] for i in order[k : k + size]] for k in range(0, len(order), size)]


def _train(session: Session, policy: Policy, batches: list[list[Document]]) -> bool:
    """One optimizer step on each batch; False if the run was told to stop before the last."""
    sizes = [sum(len(document.tokens) for document in batch) for batch in batches]
    with session.log.phase("update", sum(sizes), "tokens") as phase:
        for batch, size in zip(batches, sizes, strict=True):
            if session.stopping():
                return False
            supervised_step(session, policy, batch)
            phase.advance(size)
    return True
