"""Sequences with per-token loss weights, and the micro-batches made of them.

Owns what pre-training and supervised fine-tuning share: tokenised documents, the token mean over the
global batch, and one step of the optimizer. (The reference averages per micro-batch and then over
ranks; a mean over the tokens of the global batch does not depend on how it is split.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reft_megatron.config import Config
from reft_megatron.errors import DataError
from reft_megatron.learner.losses import supervised_loss
from reft_megatron.mesh import Mesh
from reft_megatron.policy import Policy, StepStats
from reft_megatron.rollouts.batch import MicroBatch, common_shape, lay_out
from reft_megatron.rollouts.packing import pack
from reft_megatron.tasks.task import Task
from reft_megatron.tokenizer import Tokenizer
from reft_megatron.types import Problem

__all__ = ["Document", "encode_problem", "supervised_step"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One sequence to learn from."""

    id: str
    """Problem id, or where it came from."""
    tokens: NDArray[np.int32]
    """[T]."""
    weights: NDArray[np.float32]
    """[T], weight of each token in the mean; the first is never predicted and must weigh 0."""


def encode_problem(problem: Problem, task: Task, tokenizer: Tokenizer, *, room: int) -> Document:
    """Input (weight 0), output and end-of-sequence (weight 1), tokenised apart (reft.md A.2).

    Raises DataError if it is longer than `room` tokens.
    """
    given, learnt = task.supervised_text(problem)
    head = tokenizer.encode(given)
    tail = [*tokenizer.encode(learnt), tokenizer.eos_id]
    if len(head) + len(tail) > room:
        raise DataError(
            f"problem {problem.id} has {len(head) + len(tail)} tokens with its chain of thought; "
            f"the model has {room} positions. Remove it from the data or take a longer model."
        )
    weights = np.repeat(np.array([0, 1], np.float32), [len(head), len(tail)])
    return Document(id=problem.id, tokens=np.array(head + tail, np.int32), weights=weights)


def supervised_step(
    policy: Policy, documents: Sequence[Document], config: Config, mesh: Mesh
) -> StepStats:
    """One optimizer step on the weighted token mean of `documents`, the global batch."""
    batches = _micro_batches(documents, config, mesh)
    return policy.update(batches, loss=supervised_loss, dropout=config.model.dropout > 0)


def _micro_batches(
    documents: Sequence[Document], config: Config, mesh: Mesh
) -> list[MicroBatch]:
    """This data rank's share; the weights already divided by the global total."""
    settings, parallel = config.optimizer, config.parallel
    lengths = [len(document.tokens) for document in documents]
    plan = pack(
        lengths,
        data_size=mesh.data.size,
        max_tokens=settings.micro_batch_tokens,
        multiple_of=mesh.pipeline.size if parallel.virtual_pipeline > 1 else 1,
    )
    multiple = parallel.tensor if parallel.sequence else 1
    total = float(sum(document.weights.sum(dtype=np.float64) for document in documents))
    shape = None
    if mesh.pipeline.size > 1:
        shape = common_shape(
            plan, lengths, packed=settings.packing, length_multiple=multiple
        )
    return [
        lay_out(
            indices,
            lengths,
            tokens=[document.tokens for document in documents],
            fields={"weights": [document.weights / total for document in documents]},
            pad_id=0,
            packed=settings.packing,
            length_multiple=multiple,
            shape=shape,
            device=mesh.device,
        )
        for indices in plan.data[mesh.data.rank]
    ]
