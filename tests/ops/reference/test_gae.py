"""The reference of generalised advantages, by hand."""

from __future__ import annotations

import torch

from reft_megatron.ops.reference import gae as reference


def test_it_is_the_definition():
    """Three tokens behind a prompt, by hand: gamma 1/2, lambda 1/2."""
    rewards = torch.tensor([[9.0, 1.0, 0.0, 4.0, 9.0]])
    values = torch.tensor([[9.0, 2.0, 4.0, 8.0, 9.0]])
    mask = torch.tensor([[False, True, True, True, False]])
    advantages, returns = reference.gae(rewards, values, mask, gamma=0.5, lam=0.5)
    # deltas: 4 - 8; 4 - 4; 1 + 2 - 2
    assert advantages.tolist() == [[0, 1 + (0 - 1) / 4, -1, -4, 0]]
    assert returns.tolist() == [[0, 2.75, 3, 4, 0]]
