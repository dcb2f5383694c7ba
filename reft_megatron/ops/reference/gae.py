"""Generalised advantages in plain torch: what `ops.gae` must compute."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["gae"]


def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """(advantages, returns), each [B, T] float32; see `ops.gae.gae`."""
    r = torch.where(mask, rewards, 0.0).double()
    v = torch.where(mask, values, 0.0).double()
    a = torch.zeros_like(r)
    next_value = next_advantage = r.new_zeros(len(r))
    for t in reversed(range(r.shape[1])):
        delta = r[:, t] + gamma * next_value - v[:, t]
        a[:, t] = delta + gamma * lam * next_advantage
        next_value, next_advantage = v[:, t], a[:, t]
    return torch.where(mask, a, 0.0).float(), torch.where(mask, a + v, 0.0).float()
