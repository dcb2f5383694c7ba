"""PPO's metrics: shares of one batch and the statistics of the last update."""

from __future__ import annotations

import numpy as np
import pytest

from reft_megatron.log.metrics import check_names
from reft_megatron.policy import StepStats
from reft_megatron.recipes.ppo_metrics import rollout_metrics, update_metrics
from reft_megatron.types import Completion, Reason, Rollout, Verdict


def rollout(reason: Reason, *, reward: float, tokens: int, finished: bool) -> Rollout:
    return Rollout(
        completion=Completion(
            problem_id="p_1",
            sample=0,
            prompt_ids=np.zeros(2 * tokens, np.int32),
            token_ids=np.zeros(tokens, np.int32),
            logprobs=np.zeros(tokens, np.float32),
            finished=finished,
        ),
        text="",
        verdict=Verdict(reason=reason),
        reward=reward,
        policy_version=0,
        seed=0,
    )


BATCH = [
    rollout(Reason.CORRECT, reward=1.0, tokens=2, finished=True),
    rollout(Reason.CORRECT, reward=1.0, tokens=4, finished=True),
    rollout(Reason.WRONG_VALUE, reward=0.1, tokens=6, finished=False),
]


def test_a_batch() -> None:
    metrics = rollout_metrics(BATCH, asked=4)
    check_names(metrics)
    shares = {Reason.CORRECT: 0.5, Reason.WRONG_VALUE: 0.25, Reason.EXECUTOR_FAULT: 0.25}
    assert metrics == pytest.approx(
        {
            "reward/mean": 0.7,
            "reward/accuracy": 2 / 3,
            **{f"verdict/{reason}": shares.get(reason, 0.0) for reason in Reason},
            "response/length": 4.0,
            "response/length_std": np.sqrt(8 / 3),
            "response/finished": 2 / 3,
            "prompt/length": 8.0,
            "faults/executor": 1,
        }
    )


def test_an_update() -> None:
    sums = {"pg_loss": 1.0, "vf_loss": 2.0, "ratio": 3.0, "clip_fraction": 4.0, "approx_kl": 5.0}
    stats = StepStats(applied=True, loss=6.0, grad_norm=7.0, lr=8.0, sums=sums)
    metrics = update_metrics(stats)
    check_names(metrics)
    assert metrics == {
        "policy/loss": 1.0,
        "policy/ratio": 3.0,
        "policy/clip_fraction": 4.0,
        "policy/approx_kl": 5.0,
        "value/loss": 2.0,
    }
