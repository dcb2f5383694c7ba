"""Sampler against trainer: how far apart two computations of one log-prob are.

Owns the statistics of the difference and the weights that correct for it. The sampler decodes token
by token over a cache, the trainer reads whole sequences; in exact arithmetic both say the same of
rollouts of the present policy, so what is left measures kernels and precision.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["importance_weights", "mismatch_statistics"]


def mismatch_statistics(sampler: Tensor, trainer: Tensor) -> dict[str, float]:
    """Of log-probs [n] of the same sampled tokens; all 0 (and the ratio 1) where n is 0.

    With d = trainer - sampler: `ratio` mean e^|d|, `mean` and `max` of |d|, `k3` mean e^d - 1 - d,
    the estimate of KL(sampler || trainer) that is never negative (Schulman 2020, "Approximating KL
    divergence").
    """
    if not len(sampler):
        return {"ratio": 1.0, "mean": 0.0, "max": 0.0, "k3": 0.0}
    difference = trainer.double() - sampler.double()
    apart = difference.abs()
    return {
        "ratio": apart.exp().mean().item(),
        "mean": apart.mean().item(),
        "max": apart.max().item(),
        "k3": (torch.expm1(difference) - difference).mean().item(),
    }


def importance_weights(sampler: Tensor, trainer: Tensor, mask: Tensor, *, cap: float) -> Tensor:
    """Truncated importance weights min(e^(trainer - sampler), cap), [B, T] float32, 0 off `mask`.

    They make a loss under the sampler's distribution one under the trainer's (Yao et al. 2025,
    "Your efficient RL framework secretly brings you off-policy RL training"); `cap` > 0 bounds the
    variance.
    """
    ratio = (trainer.float() - sampler.float()).exp().clamp(max=cap)
    return torch.where(mask, ratio, 0.0)
