"""Rewards per token: the verdict's score at the end, a KL penalty all along.

Owns the reward of ReFT section 3.2 (train_rl_reft.py). Does not judge completions: scores come in.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["token_kl", "token_rewards"]


def token_kl(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    """One-sample estimate of KL(policy || reference) at each token: the log-ratio, maybe negative.

    `logprobs` of the sampling policy and `ref_logprobs` of the frozen reference, [B, T] in nats;
    `mask` [B, T] bool, the response tokens. Returns [B, T] float32, 0 where not counted.
    """
    return torch.where(mask, logprobs.float() - ref_logprobs.float(), 0.0)


def token_rewards(
    *, scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, kl_coef: float
) -> Tensor:
    """Reward of each response token: `score [t is the last one] - kl_coef * kl_t`.

    `scores` [B]; the others as in `token_kl`. A response cut by the length limit is treated as
    ended: its last token earns the score. Returns [B, T] float32, 0 where not counted.
    """
    counted_from_here_on = mask.flip(1).cumsum(1).flip(1)
    last = mask & (counted_from_here_on == 1)
    penalty = kl_coef * token_kl(logprobs, ref_logprobs, mask)
    return torch.where(last, scores.float()[:, None], 0.0) - penalty
