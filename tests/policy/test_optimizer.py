"""AdamW's step against torch's own, and the learning rate over a run."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reft_megatron.config import OptimizerConfig
from reft_megatron.policy.optimizer import learning_rate
from tests.policy.scene import (
    ONE,
    PPO,
    assemble,
    gradients_of,
    make_batches,
    open_policy,
    weights_of,
)


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        # Two of ten steps warm up; the decay begins at the peak and would end one step later.
        ("constant", [0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        ("linear", [0.5, 1, 1, 0.8875, 0.775, 0.6625, 0.55, 0.4375, 0.325, 0.2125]),
        (
            "cosine",
            [0.5, 1, 1, 0.965746, 0.868198, 0.722208, 0.55, 0.377792, 0.231802, 0.134254],
        ),
    ],
)
def test_learning_rates_of_a_run(schedule, wanted):
    config = OptimizerConfig(lr=1.0, min_lr=0.1, schedule=schedule, warmup_fraction=0.2)
    rates = [learning_rate(config, step, 10) for step in range(10)]
    assert rates == pytest.approx(wanted, abs=1e-6)
    assert learning_rate(config, 25, 10) == pytest.approx(1.0 if schedule == "constant" else 0.1)


def test_without_warm_up_the_first_step_has_the_peak():
    config = OptimizerConfig(lr=2e-5, warmup_fraction=0.0)
    assert learning_rate(config, 0, 4) == 2e-5
    assert learning_rate(config, 0, 0) == 2e-5


@pytest.mark.parametrize("clip", [0.0, 0.5])
@pytest.mark.parametrize("distributed", [True, False])
def test_steps_are_torchs_adamw(alone, fields, weights, distributed: bool, clip: float):
    policy = open_policy(
        ONE, f"parallel.distributed_optimizer={distributed}", f"optimizer.clip_grad={clip}"
    )
    copies = {name: torch.nn.Parameter(torch.from_numpy(x.copy())) for name, x in weights.items()}
    decayed = [x for x in copies.values() if x.dim() > 1]
    others = [x for x in copies.values() if x.dim() == 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.999), eps=1e-6)
    batches = make_batches(policy, fields)
    for _ in range(2):
        stats = policy.update(batches, loss=PPO)
        # With clipping the buffers hold the clipped gradients by now.
        for name, gradient in assemble([gradients_of(policy)]).items():
            copies[name].grad = torch.from_numpy(gradient)
        norm = torch.nn.utils.get_total_norm([x.grad for x in copies.values()])
        assert norm.item() == pytest.approx(clip or stats.grad_norm, rel=1e-5)
        assert stats.grad_norm > 0.5
        adam.step()
    for name, tensor in assemble([weights_of(policy)]).items():
        np.testing.assert_allclose(
            tensor, copies[name].detach(), rtol=1e-5, atol=1e-7, err_msg=name
        )


def test_torchs_adamw_takes_one_parameter_at_a_time(alone):
    optimizer = open_policy(ONE)._optimizer
    assert [group["foreach"] for group in optimizer.param_groups] == [False, False]
