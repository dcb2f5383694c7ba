"""Sequences with per-token loss weights, and the micro-batches made of them.

Owns what pre-training, supervised fine-tuning and self-training share: tokenised documents, their
micro-batches, the token mean over the global batch; and one step of the optimizer, as all recipes
but PPO and online self-training take it. (The reference averages per micro-batch and then over
ranks; a mean over the tokens of the global batch does not depend on how it is split.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reft_megatron.errors import DataError
from reft_megatron.learner.losses import supervised_loss
from reft_megatron.policy import Policy, StepStats
from reft_megatron.policy.update import Loss
from reft_megatron.recipes.room import room_of
from reft_megatron.recipes.session import Session
from reft_megatron.rollouts.batch import MicroBatch, common_shape, lay_out
from reft_megatron.rollouts.packing import pack
from reft_megatron.types import Problem

__all__ = [
    "Document",
    "document",
    "gold_documents",
    "micro_batches",
    "optimizer_step",
    "supervised_step",
    "token_means",
    "training_problems",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One sequence to learn from."""

    id: str
    """Problem id, or where it came from."""
    tokens: NDArray[np.int32]
    """[T]."""
    weights: NDArray[np.float32]
    """[T], weight of each token in the mean; the first is never predicted and must weigh 0."""


def document(
    session: Session, given: str, learnt: str, *, name: str, given_weight: float = 0.0
) -> Document:
    """`given`, then its continuation `learnt` and end-of-sequence (weight 1), tokenised apart.

    Raises DataError, with `name`, if the model or a micro-batch cannot take it.
    """
    head = session.tokenizer.encode(given)
    tail = [*session.tokenizer.encode_continuation(learnt), session.tokenizer.eos_id]
    room = room_of(session.architecture, session.config, trained=True)
    if len(head) + len(tail) > room.tokens:
        raise DataError(
            f"{name} has {len(head) + len(tail)} tokens with its chain of thought, more than "
            f"{room.limit}. Remove it from the data, or make more room."
        )
    weights = np.repeat(np.array([given_weight, 1], np.float32), [len(head), len(tail)])
    weights[0] = 0
    return Document(id=name, tokens=np.array(head + tail, np.int32), weights=weights)


def training_problems(session: Session) -> Sequence[Problem]:
    """The training problems; errors of the dev problems, which select, are met here too."""
    if dev := session.task.problems("dev"):
        session.answerer.fitting(dev)
    return session.task.problems("train")


def gold_documents(session: Session, problems: Sequence[Problem]) -> list[Document]:
    """The gold chain of thought of each problem; DataError for one without room."""
    return [
        document(session, *session.task.supervised_text(problem), name=problem.id)
        for problem in problems
    ]


def supervised_step(session: Session, policy: Policy, documents: Sequence[Document]) -> StepStats:
    """One optimizer step on the weighted token mean of `documents`, the global batch."""
    ids = [document.id for document in documents]
    batches = micro_batches(session, documents, fields={"weights": token_means(documents)})
    return optimizer_step(session, policy, batches, loss=supervised_loss, ids=ids)


def token_means(documents: Sequence[Document]) -> list[NDArray[np.float32]]:
    """Weights of the mean over the tokens of all `documents`, [T] for each; they sum to 1."""
    total = float(sum(document.weights.sum(dtype=np.float64) for document in documents))
    return [document.weights / np.float32(total) for document in documents]


def optimizer_step(
    session: Session,
    policy: Policy,
    batches: Sequence[MicroBatch],
    *,
    loss: Loss,
    ids: Sequence[str],
) -> StepStats:
    """One optimizer step on `batches`, whose indices count `ids`, recorded and checked."""
    stats = policy.update(batches, loss=loss, dropout=session.config.model.dropout > 0)
    session.count_skip(stats, policy.version, ids)
    session.log.record(policy.version, session.optimizer_metrics(stats))
    return stats


def micro_batches(
    session: Session,
    documents: Sequence[Document],
    *,
    fields: Mapping[str, Sequence[NDArray[np.float32]]],
) -> list[MicroBatch]:
    """This data rank's share of the global batch `documents`, with `fields` [T] of each of them.

    Their `indices` count `documents`.
    """
    mesh = session.mesh
    lengths = [len(document.tokens) for document in documents]
    plan = pack(
        lengths,
        data_size=mesh.data.size,
        max_tokens=session.config.optimizer.micro_batch_tokens,
        multiple_of=session.batch_multiple,
    )
    shape = None
    if mesh.pipeline.size > 1:
        shape = common_shape(plan, lengths, **session.layout)
    return [
        lay_out(
            indices,
            lengths,
            tokens=[document.tokens for document in documents],
            fields=fields,
            pad_id=session.tokenizer.pad_id,
            shape=shape,
            device=mesh.device,
            **session.layout,
        )
        for indices in plan.data[mesh.data.rank]
    ]
