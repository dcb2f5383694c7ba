"""Softmax of a shard of logits in plain torch: what `ops.softmax` must compute."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["softmax", "softmax_gradient"]


def softmax(
    logits: Tensor, targets: Tensor, *, start: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(top, sum, shifted, picked), each [n]; see `ops.softmax.Softmax`."""
    top = logits.max(dim=-1).values
    distance = logits - torch.where(top > -torch.inf, top, 0.0)[:, None]
    weights = distance.exp()
    # exp(-inf) * -inf is nan: rows of padding must not enter the entropy's sum. In place, as these
    # are the largest tensors that there are.
    shifted = distance.clamp_(min=torch.finfo(distance.dtype).min).mul_(weights).sum(dim=-1)
    local, here = _local(targets, logits, start)
    picked = torch.where(here, logits.gather(1, local[:, None])[:, 0], 0.0)
    return top, weights.sum(dim=-1), shifted, picked


def softmax_gradient(
    logits: Tensor,
    targets: Tensor,
    *,
    log_sum: Tensor,
    gradient: Tensor,
    start: int,
    dtype: torch.dtype,
) -> Tensor:
    """See `ops.softmax.softmax_gradient`; [n, V] in `dtype`."""
    out = (logits - log_sum[:, None]).exp_().mul_(-gradient[:, None])
    local, here = _local(targets, logits, start)
    out.scatter_add_(1, local[:, None], torch.where(here, gradient, 0.0)[:, None])
    return out.to(dtype)


def _local(targets: Tensor, logits: Tensor, start: int) -> tuple[Tensor, Tensor]:
    """(column of each target clamped into this shard, True where the target lives here)."""
    local, columns = targets - start, logits.shape[1]
    return local.clamp(0, columns - 1), (local >= 0) & (local < columns)
