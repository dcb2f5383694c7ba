"""Scoring without gradients: log-probs, entropies and values, or classes.

Owns one verb of the policy. Everything is aligned to the token it speaks about.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from reft_megatron.learner.align import about_tokens, next_tokens
from reft_megatron.mesh import Mesh
from reft_megatron.policy.model import Head, PolicyModel
from reft_megatron.policy.schedule import run_schedule
from reft_megatron.rollouts.batch import MicroBatch, pick

__all__ = ["CLASS_SCORES", "SCORES", "class_head", "classify", "score", "token_head"]

SCORES = ("logprobs", "values", "entropies")
"""What scoring yields, in the order of the head's stack."""
CLASS_SCORES = ("wrong", "right")
"""What the rerank head yields, in the order of its rows."""


def token_head(batch: MicroBatch) -> Head:
    """Head that stacks log-probs, values and entropies, fp32 [3, R, L], about tokens."""

    def head(model: PolicyModel, hidden: Tensor) -> Tensor:
        assert batch.tokens is not None, "the last stage holds token ids"
        # The target of the last position of a row is never looked at; any id serves.
        logprobs, entropies = model.logprobs(hidden, next_tokens(batch.tokens, pad_id=0))
        outputs = (logprobs, model.values(hidden), entropies)
        return torch.stack([about_tokens(x) for x in outputs])

    return head


def class_head(batch: MicroBatch) -> Head:
    """Head of the scores of the classes, fp32 [2, R, L], after tokens."""
    return lambda model, hidden: model.classes(hidden)


def score(
    chunks: Sequence[torch.nn.Module], batches: Sequence[MicroBatch], mesh: Mesh
) -> dict[str, list[Tensor]]:
    """Per-sequence fp32 [length] rows of each of SCORES, in packed order; empty off the last stage.

    Dropout is off. Rows are ordered by the sequences' indices.
    """
    outputs = run_schedule(chunks, batches, mesh, head_of=token_head, dropout=False)
    rows: dict[str, dict[int, Tensor]] = {name: {} for name in SCORES}
    # Other pipeline stages have no outputs.
    for batch, output in zip(batches, outputs, strict=bool(outputs)):
        for name, stacked in zip(SCORES, output, strict=True):
            rows[name].update(zip(batch.indices, pick(batch, stacked), strict=True))
    return {name: [found[i] for i in sorted(found)] for name, found in rows.items()}


def classify(
    chunks: Sequence[torch.nn.Module], batches: Sequence[MicroBatch], mesh: Mesh
) -> list[Tensor]:
    """fp32 [2] after each sequence's last token, by the sequences' indices; empty elsewhere.

    The reranker's scores of wrong and right (transformers' sequence classification).
    """
    outputs = run_schedule(chunks, batches, mesh, head_of=class_head, dropout=False)
    rows: dict[int, Tensor] = {}
    for batch, output in zip(batches, outputs, strict=bool(outputs)):
        classes = zip(*(pick(batch, scores) for scores in output), strict=True)
        last = [torch.stack([row[-1] for row in pair]) for pair in classes]
        rows.update(zip(batch.indices, last, strict=True))
    return [rows[i] for i in sorted(rows)]
