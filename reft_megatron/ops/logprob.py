"""Log-prob and entropy of tokens from hidden states, vocabulary-parallel.

Owns the projection onto the vocabulary with log-softmax behind it (`ops.softmax`), in chunks of
tokens, and the merging of the ranks' shares: no [N, V] fp32 tensor is ever held, forward or
backward (the backward recomputes each chunk's logits, and needs the saved log-sum-exp alone).
`reference_logprob` is the plain version that every fast path is tested against.

Legend: N tokens, H hidden, V vocabulary rows on this rank, K real vocabulary over all ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from reft_megatron.ops.softmax import softmax, softmax_gradient

__all__ = ["VocabShard", "linear_logprob", "project", "reference_logprob"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VocabShard:
    """Which rows of the vocabulary this rank holds."""

    start: int
    """Global index of this rank's first row."""
    real: int
    """Number of real tokens over all ranks; rows at and above it are padding and never count."""
    group: Any
    """Process group of the tensor-parallel ranks; None when there is one."""

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over the ranks, in place."""
        if self.group is not None:
            dist.all_reduce(tensor, group=self.group)
        return tensor

    def max(self, tensor: Tensor) -> Tensor:
        """Maximum over the ranks, in place."""
        if self.group is not None:
            dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=self.group)
        return tensor


def project(hidden: Tensor, weight: Tensor, shard: VocabShard) -> Tensor:
    """fp32 logits [N, V] of this rank's rows; padded rows are -inf.

    hidden [N, H], weight [V, H]. The product is accumulated and kept in fp32: rounding logits to
    bf16 costs up to 4e-3 of log-prob.
    """
    if hidden.dtype == torch.float32:
        logits = hidden @ weight.t()
    elif hidden.is_cuda:
        logits = torch.mm(hidden, weight.t(), out_dtype=torch.float32)
    else:
        logits = hidden.float() @ weight.float().t()
    padded = shard.start + weight.shape[0] - shard.real
    if padded > 0:
        logits[:, max(weight.shape[0] - padded, 0) :] = -torch.inf
    return logits


def linear_logprob(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, shard: VocabShard, chunk: int
) -> tuple[Tensor, Tensor]:
    """Log-prob of each target and entropy of each distribution, (fp32 [N], fp32 [N]), natural log.

    hidden [N, H] replicated over the tensor-parallel ranks (its gradient comes back as this rank's
    partial sum, so it must pass through a region whose backward sums), weight [V, H] this rank's
    rows, targets int64 [N] global ids. Gradients flow through the log-prob only; the entropy is a
    statistic.
    """
    # torch does not type what `apply` takes or returns
    apply: Any = _LinearLogprob.apply
    logprob, entropy = apply(hidden, weight, targets, shard, chunk)
    return logprob, entropy


def reference_logprob(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The same from plain torch on one rank: hidden [N, H], weight [K, H], targets [N]."""
    logprobs = torch.log_softmax(hidden.float() @ weight.float().t(), dim=-1)
    picked = logprobs.gather(1, targets[:, None])[:, 0]
    return picked, -(logprobs.exp() * logprobs).sum(dim=-1)


class _LinearLogprob(torch.autograd.Function):
    """Forward keeps one number per token; backward recomputes the logits chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, shard: VocabShard, chunk: int
    ) -> tuple[Tensor, Tensor]:
        parts = [
            _chunk_forward(hidden[i : i + chunk], weight, targets[i : i + chunk], shard=shard)
            for i in range(0, hidden.shape[0], chunk)
        ]
        logprob, entropy, log_sum = (torch.cat(column) for column in zip(*parts, strict=True))
        ctx.save_for_backward(hidden, weight, targets, log_sum)
        ctx.shard, ctx.chunk = shard, chunk
        ctx.mark_non_differentiable(entropy)
        return logprob, entropy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, targets, log_sum = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
        for i in range(0, hidden.shape[0], ctx.chunk):
            rows = slice(i, i + ctx.chunk)
            grad_logits = _chunk_backward(
                hidden[rows],
                weight,
                targets[rows],
                log_sum=log_sum[rows],
                grad=grads[0][rows],
                shard=ctx.shard,
            )
            grad_hidden[rows] = grad_logits @ weight
            grad_weight += (grad_logits.t() @ hidden[rows]).float()
        return grad_hidden, grad_weight.to(weight.dtype), None, None, None


def _chunk_forward(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, shard: VocabShard
) -> tuple[Tensor, Tensor, Tensor]:
    """(log-prob, entropy, log-sum-exp) of a chunk: one maximum and one sum over the ranks."""
    ours = softmax(project(hidden, weight, shard), targets, start=shard.start)
    top = shard.max(ours.top.clone())
    # A shard of padding has no largest logit, and sums of 0.
    by = torch.where(ours.sum > 0, ours.top - top, 0.0)
    factor = by.exp()
    total, target_logit, shifted = shard.sum(
        torch.stack([factor * ours.sum, ours.picked, factor * (ours.shifted + by * ours.sum)])
    )
    log_total = total.log()
    return target_logit - (top + log_total), log_total - shifted / total, top + log_total


def _chunk_backward(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    log_sum: Tensor,
    grad: Tensor,
    shard: VocabShard,
) -> Tensor:
    """d loss / d logits = grad * (onehot - softmax), [n, V] in the dtype of what is multiplied."""
    return softmax_gradient(
        project(hidden, weight, shard),
        targets,
        log_sum=log_sum,
        gradient=grad,
        start=shard.start,
        dtype=hidden.dtype,
    )
