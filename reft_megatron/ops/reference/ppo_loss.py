"""PPO's clipped losses and their gradients in plain torch, as in `ops.ppo_loss`."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["ppo_loss"]


def ppo_loss(
    logprobs: Tensor,
    values: Tensor,
    *,
    mask: Tensor,
    weights: Tensor,
    old_logprobs: Tensor,
    old_values: Tensor,
    advantages: Tensor,
    returns: Tensor,
    importance: Tensor | None,
    clip_range: float,
    value_coef: float,
) -> tuple[Tensor, Tensor]:
    """(sums [6], gradients [2, R, L]) in the dtype of `logprobs`; see `ops.ppo_loss.ppo_sums`."""

    def counted(x: Tensor) -> Tensor:
        # A product with the mask would keep a NaN.
        return torch.where(mask, x, 0.0)

    weights, advantages, returns = counted(weights), counted(advantages), counted(returns)
    counts = weights if importance is None else weights * counted(importance)

    log_ratio = counted(logprobs) - counted(old_logprobs)
    ratio = log_ratio.exp()
    low, high = 1 - clip_range, 1 + clip_range
    pg_plain = -advantages * ratio
    pg_clipped = -advantages * ratio.clamp(low, high)
    share = _share(pg_plain, pg_clipped)
    by_logprobs = pg_plain * (share + (1 - share) * _within(ratio, low, high))

    values, old_values = counted(values), counted(old_values)
    near = torch.clamp(values, old_values - clip_range, old_values + clip_range)
    vf_plain, vf_clipped = (values - returns).square(), (near - returns).square()
    inside = _within(values, old_values - clip_range, old_values + clip_range)
    share = _share(vf_plain, vf_clipped)
    by_values = share * (values - returns) + (1 - share) * inside * (near - returns)

    pg_loss = (counts * torch.maximum(pg_plain, pg_clipped)).sum()
    vf_loss = 0.5 * (weights * torch.maximum(vf_plain, vf_clipped)).sum()
    sums = [
        pg_loss + value_coef * vf_loss,
        *(pg_loss, vf_loss, (weights * ratio).sum()),
        (weights * (torch.expm1(log_ratio) - log_ratio)).sum(),
        (weights * (pg_clipped > pg_plain)).sum(),
    ]
    return torch.stack(sums), torch.stack([counts * by_logprobs, value_coef * weights * by_values])


def _within(x: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    return (x >= low) & (x <= high)


def _share(first: Tensor, second: Tensor) -> Tensor:
    """What the first has of the gradient of the larger of both: half where they are equal."""
    return (first > second).to(first.dtype) + 0.5 * (first == second)
