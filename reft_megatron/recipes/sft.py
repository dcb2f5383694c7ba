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
from reft_megatron.recipes.epochs import Epochs
from reft_megatron.recipes.session import Session
from reft_megatron.recipes.supervised import gold_documents, supervised_step, training_problems

__all__ = ["run"]


def run(config: Config) -> dict[str, Any]:
    """Train, keep the best and the last checkpoint, return the summary."""
    with Session(config, "sft") as session:
        settings = config.sft
        documents = gold_documents(session, training_problems(session))
        epochs = Epochs(
            lengths=[len(document.tokens) for document in documents],
            batch_size=settings.batch_size,
            count=settings.epochs,
            seed=config.run.seed,
        )
        policy = session.build(total_steps=epochs.steps)
        session.start(policy)
        last = min(settings.stop_after_epoch or settings.epochs, settings.epochs)
        done = epochs.run(
            session,
            policy,
            step=lambda batch: supervised_step(session, policy, [documents[i] for i in batch]),
            last=last,
            evaluate_every=settings.evaluate_every,
        )
        if not done:
            return session.interrupted(policy, policy.version)
        return session.finish({"epochs": last, "steps": policy.version, "best_dev": session.best})
