"""Advantages and returns, and their whitening with moments that are handed in.

Owns generalised advantage estimation and the mean and variance of advantages. Sums over data ranks
are the caller's: `mesh.data.sum(moments(...))` between `moments` and `mean_and_variance`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reft_megatron.errors import TrainingError
from reft_megatron.ops.gae import gae as estimate

__all__ = ["Advantages", "gae", "mean_and_variance", "moments", "whiten"]

_EPSILON = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Advantages:
    """What each response token was worth; 0 where not counted."""

    advantages: Tensor
    """[B, T] float32, not whitened."""
    returns: Tensor
    """[B, T] float32, target of the value head: raw advantage plus old value."""


def gae(*, rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> Advantages:
    """Generalised advantage estimation over the response tokens (`ops.gae` has the formula).

    `rewards` and `values` [B, T] float, `mask` [B, T] bool. The value about token `t` is that of
    the state before token `t`, so the next state's value is the entry after it where that counts
    and 0 where it does not: the end of a sequence, cut or not, is terminal. Computed in float64, as
    the reference does, and returned as float32.
    """
    advantages, returns = estimate(rewards, values, mask, gamma=gamma, lam=lam)
    return Advantages(advantages=advantages, returns=returns)


def moments(advantages: Tensor, mask: Tensor) -> Tensor:
    """Sum, sum of squares and count of the counted entries, [3] float64; add them over data ranks.

    Moments about zero in float64 keep the variance of advantages (of order 1) good to 1e-12.
    """
    a = torch.where(mask, advantages, 0.0).double()
    return torch.stack([a.sum(), a.square().sum(), mask.sum().double()])


def mean_and_variance(sums: Tensor) -> tuple[float, float]:
    """Mean and variance (with Bessel's n / (n - 1)) from summed moments [3] (train_rl_reft.py).

    Raises TrainingError where fewer than two tokens count, since no variance exists then.
    """
    total, squares, count = sums.tolist()
    if count < 2:
        raise TrainingError(
            f"whitening needs at least 2 response tokens over all data ranks, saw {count:.0f}; "
            "look at the completions of this batch in the rollout ledger."
        )
    mean = total / count
    return mean, max(squares / count - mean * mean, 0.0) * count / (count - 1)


def whiten(advantages: Tensor, mask: Tensor, *, mean: float, var: float) -> Tensor:
    """`(A - mean) / sqrt(var + 1e-8)` where counted, 0 elsewhere; [B, T] float32."""
    white = (advantages.double() - mean) / (var + _EPSILON) ** 0.5
    return torch.where(mask, white, 0.0).float()
