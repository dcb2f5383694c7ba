"""The reference of softmax over a shard against torch's own, and rows of padding."""

from __future__ import annotations

import torch

from reft_megatron.ops.reference import softmax as reference


def test_it_is_torchs():
    draw = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(20, 33, generator=draw, dtype=torch.float64)
    targets = torch.arange(20) + 4
    top, total, shifted, picked = reference.softmax(logits, targets, start=4)
    logprobs = logits.log_softmax(-1)
    wanted = logprobs.gather(1, targets[:, None] - 4)[:, 0]
    torch.testing.assert_close(picked - (top + total.log()), wanted)
    entropy = -(logprobs.exp() * logprobs).sum(-1)
    torch.testing.assert_close(total.log() - shifted / total, entropy)


def test_the_gradient_is_torchs():
    draw = torch.Generator().manual_seed(1)
    logits = torch.randn(7, 12, generator=draw, dtype=torch.float64, requires_grad=True)
    targets, gradient = torch.arange(7), torch.randn(7, generator=draw, dtype=torch.float64)
    logprobs = logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]
    (wanted,) = torch.autograd.grad(logprobs, logits, gradient)
    how = {"log_sum": logits.logsumexp(-1), "gradient": gradient, "start": 0}
    found = reference.softmax_gradient(logits.detach(), targets, **how, dtype=torch.float64)
    torch.testing.assert_close(found, wanted)


def test_what_a_shard_does_not_have_adds_nothing():
    logits = torch.tensor([[1.0, -torch.inf], [-torch.inf, -torch.inf]])
    top, total, shifted, picked = reference.softmax(logits, torch.tensor([9, 0]), start=5)
    assert top.tolist() == [1.0, -torch.inf]
    assert total.tolist() == [1.0, 0.0]
    assert shifted.tolist() == picked.tolist() == [0.0, 0.0]
