"""Rerank: a model that tells right completions from wrong (paper section 4.3).

A policy that answers a problem many times is often right somewhere; the question is where. So a
second model reads a problem with a completion and says after the last token whether it is right:
two classes on the trunk, trained by cross-entropy on the policy's own samples, whose labels the
program checker has given. At test time the completion it trusts most is the answer (rerank@k), or
each answer has as many votes as its completions have probability of being right.

The samples come from a ledger, those of the training problems under the warm-up policy in the
paper; the weights from the policy that is to be reranked. What the same text says twice of a
problem counts once. Problems are split, never samples: the completions of some problems, the first
in a fixed order of ids, are kept for the choice of the checkpoint, and so are those of other
problems that ask the same. The area under the ROC curve says whether right ones are ranked above
wrong ones; the loss also minds how sure it is, which the weighted vote needs.

Like fine-tuning it visits every example once an epoch, in an order that is a function of (seed,
epoch), so the position in the data is the number of steps taken and nothing else.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reft_megatron.config import Config
from reft_megatron.errors import DataError
from reft_megatron.learner.losses import classification_loss
from reft_megatron.learner.statistics import area_under_curve, cross_entropy
from reft_megatron.policy import Policy
from reft_megatron.recipes.epochs import Epochs
from reft_megatron.recipes.learnt_ledger import open_ledger, remember
from reft_megatron.recipes.reranker import margins
from reft_megatron.recipes.room import check_room
from reft_megatron.recipes.session import Session
from reft_megatron.recipes.supervised import optimizer_step
from reft_megatron.rollouts.training_set import TrainingSet
from reft_megatron.rollouts.views import labelled
from reft_megatron.tasks.splits import place

__all__ = ["run"]

Indices = NDArray[np.int64]
"""Some sequences of a training set."""


def run(config: Config) -> dict[str, Any]:
    """Train, keep the best and the last checkpoint, return the summary."""
    settings = config.rerank
    with Session(config, "rerank") as session:
        ledger = open_ledger(session, settings.ledger)
        with session.mesh.world.together():
            chosen = labelled(ledger.batches, unique=settings.unique, folder=session.folder)
        with chosen:
            train, dev = _split(chosen, dev_size=settings.dev_size)
            check_room(session.architecture, config, chosen)
            epochs = Epochs(
                lengths=chosen.lengths[train].tolist(),
                batch_size=settings.batch_size,
                count=settings.epochs,
                seed=config.run.seed,
            )
            policy = session.build(total_steps=epochs.steps)
            session.start(policy)
            remember(session, ledger, settings.ledger)
            session.log.say(_told(chosen, train, dev))
            done = epochs.run(
                session,
                policy,
                step=lambda batch: _step(session, policy, chosen, batch=train[batch]),
                last=settings.epochs,
                evaluate_every=settings.evaluate_every,
                evaluate=functools.partial(_evaluate, chosen=chosen, dev=dev),
            )
            if not done:
                return session.interrupted(policy, policy.version)
        assert session.best is not None, "the last epoch ends with an evaluation"
        best = session.best if settings.select == "auc" else -session.best
        summary = {"epochs": settings.epochs, "steps": policy.version}
        return session.finish({**summary, f"best_dev_{settings.select}": best})


def _split(chosen: TrainingSet, *, dev_size: int) -> tuple[Indices, Indices]:
    """Sequences to learn from and to select on: the latter are of the first `dev_size` problems.

    Raises DataError if one part has no right or no wrong ones.
    """
    names = [chosen.problem_id(i) for i in range(len(chosen))]
    first = dict(zip(reversed(names), reversed(range(len(names))), strict=True))
    prompts = {name: chosen.prompt(index).tobytes() for name, index in first.items()}
    dev = set(sorted(prompts, key=place)[:dev_size])
    asked = {prompts[name] for name in dev}
    learnt = {name for name, prompt in prompts.items() if prompt not in asked}
    parts = tuple(
        np.array([i for i, name in enumerate(names) if name in part], np.int64)
        for part in (learnt, dev)
    )
    assert chosen.labels is not None
    for what, part in zip(("left to learn from", "in the dev part"), parts, strict=True):
        right = int(chosen.labels[part].sum())
        if right in (0, len(part)):
            raise DataError(
                f"of {len(part)} rollouts {what} {right} are right: there must be right and wrong "
                f"ones. The ledger has {len(prompts)} problems and rerank.dev_size={dev_size} of "
                "them are kept for selection; change that, or sample more."
            )
    return parts[0], parts[1]


def _told(chosen: TrainingSet, train: Indices, dev: Indices) -> str:
    """What is learnt from, and what is not."""
    assert chosen.labels is not None
    counts = {"dev": dev, "learnt from": train}
    texts = [
        f"{len(part)} {name} ({chosen.labels[part].mean():.1%} right)"
        for name, part in counts.items()
    ]
    twins = len(chosen) - len(train) - len(dev)
    left_out = {**chosen.left_out, "asked in dev too": twins}
    texts += [f"{count} left out ({why})" for why, count in left_out.items() if count]
    return f"rollouts: {', '.join(texts)}"


def _step(session: Session, policy: Policy, chosen: TrainingSet, *, batch: Indices) -> None:
    """One optimizer step on the mean cross-entropy of a batch."""
    batches = chosen.micro_batches(
        batch,
        mesh=session.mesh,
        pad_id=session.tokenizer.pad_id,
        max_tokens=session.config.optimizer.micro_batch_tokens,
        multiple_of=session.batch_multiple,
        **session.layout,
    )
    ids = [chosen.problem_id(int(i)) for i in batch]
    optimizer_step(session, policy, batches, loss=classification_loss, ids=ids)


def _evaluate(
    session: Session, policy: Policy, *, chosen: TrainingSet, dev: Indices
) -> tuple[dict[str, float], float]:
    """Metrics on the dev part, and what to select by: higher is better."""
    assert chosen.labels is not None
    scores = torch.from_numpy(margins(session, policy, chosen, indices=dev))
    labels = torch.from_numpy(chosen.labels[dev])
    auc = area_under_curve(scores=scores, labels=labels)
    loss = cross_entropy(margins=scores, labels=labels)
    score = auc if session.config.rerank.select == "auc" else -loss
    return {"eval/dev_auc": auc, "eval/dev_loss": loss}, score
