"""The reference of PPO's losses: its gradients are those that torch derives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from reft_megatron.ops.reference import ppo_loss as reference
from tests.ops.ppo_scene import LIMITS, scene, wide


def by_torch(
    logprobs: Tensor, values: Tensor, given: dict[str, Tensor | None], tokens: Tensor
) -> Tensor:
    """The loss in torch's terms, of the tokens that count: what autograd is asked about."""
    x = {name: None if v is None else v[tokens] for name, v in given.items()}
    ratio = (logprobs[tokens] - x["old_logprobs"]).exp()
    policy = torch.maximum(-x["advantages"] * ratio, -x["advantages"] * ratio.clamp(0.8, 1.2))
    near = torch.clamp(values[tokens], x["old_values"] - 0.2, x["old_values"] + 0.2)
    value = torch.maximum((values[tokens] - x["returns"]) ** 2, (near - x["returns"]) ** 2)
    counts = 1 if x["importance"] is None else x["importance"]
    return (x["weights"] * (counts * policy + 5 / 2 * value)).sum()


@pytest.mark.parametrize("importance", [True, False])
def test_gradients_are_those_that_torch_derives(importance: bool):
    given = wide(scene(400, importance=importance))
    leaves = [given[name].requires_grad_() for name in ("logprobs", "values")]
    loss = by_torch(*leaves, given, given["mask"])
    wanted = torch.autograd.grad(loss, leaves)
    sums, gradients = reference.ppo_loss(**given, **LIMITS)
    torch.testing.assert_close(sums[0], loss)
    torch.testing.assert_close(gradients, torch.stack(wanted))
    clipped = (wanted[0] == 0) & given["mask"]
    assert 0.1 < clipped.double().mean() < 0.9, "both sides are seen"


def test_where_both_sides_are_equal_the_gradient_is_torchs():
    """The first update of all: ratios of 1, values as they were, and advantages of 0."""
    given = wide(scene(40))
    given |= {"logprobs": given["old_logprobs"].clone(), "values": given["old_values"].clone()}
    given["advantages"][0, :5] = 0
    leaves = [given[name].requires_grad_() for name in ("logprobs", "values")]
    wanted = torch.autograd.grad(by_torch(*leaves, given, given["mask"]), leaves)
    _, gradients = reference.ppo_loss(**given, **LIMITS)
    torch.testing.assert_close(gradients, torch.stack(wanted))
