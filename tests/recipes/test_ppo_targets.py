"""PPO's targets of one batch against loops over sequences and tokens."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from reft_megatron.config import load_config
from reft_megatron.log.metrics import check_names
from reft_megatron.mesh import Mesh
from reft_megatron.recipes.ppo_targets import set_targets
from reft_megatron.rollouts.buffer import RolloutBuffer
from reft_megatron.types import Completion, Reason, Rollout, Verdict

SIZES = ((3, 2), (5, 4), (2, 1))
"""Prompt and response tokens of each sequence."""
REWARDS = (1.0, 0.1, 0.0)
ROWS = ("old_logprobs", "ref_logprobs", "old_values", "entropies")
GAMMA, LAM, BETA = 0.9, 0.8, 0.3


def make_rollout(number: int) -> Rollout:
    prompt, response = SIZES[number]
    return Rollout(
        completion=Completion(
            problem_id=f"p_{number}",
            sample=0,
            prompt_ids=np.zeros(prompt, np.int32),
            token_ids=np.zeros(response, np.int32),
            logprobs=-np.ones(response, np.float32),
            finished=True,
        ),
        text="",
        verdict=Verdict(reason=Reason.CORRECT),
        reward=REWARDS[number],
        policy_version=0,
        seed=0,
    )


@pytest.fixture
def rows() -> dict[str, list[np.ndarray[Any, Any]]]:
    rng = np.random.default_rng(0)
    return {
        name: [rng.standard_normal(sum(size)).astype(np.float32) for size in SIZES] for name in ROWS
    }


def slow_targets(rows: dict[str, list[np.ndarray[Any, Any]]]) -> list[dict[str, Any]]:
    """Rewards, advantages and returns of each sequence's response tokens."""
    found = []
    for i, (prompt, response) in enumerate(SIZES):
        log, ref, value = (rows[name][i][prompt:].tolist() for name in ROWS[:3])
        kl = [a - b for a, b in zip(log, ref, strict=True)]
        reward = [-BETA * k for k in kl]
        reward[-1] += REWARDS[i]
        advantage = [0.0] * response
        for t in reversed(range(response)):
            after = t + 1 < response
            delta = reward[t] + (GAMMA * value[t + 1] if after else 0) - value[t]
            advantage[t] = delta + (GAMMA * LAM * advantage[t + 1] if after else 0)
        returns = [a + v for a, v in zip(advantage, value, strict=True)]
        found.append({"kl": kl, "advantage": advantage, "return": returns, "value": value})
    return found


def test_targets(rows: dict[str, list[np.ndarray[Any, Any]]]) -> None:
    mesh = Mesh.single()
    buffer = RolloutBuffer(mesh, pad_id=0)
    buffer.fill([make_rollout(i) for i in range(3)])
    buffer.distribute(max_tokens=100)
    for name in ROWS:
        buffer.put(name, rows[name])
    settings = (f"ppo.gamma={GAMMA}", f"ppo.lam={LAM}", f"ppo.kl_coef={BETA}")
    config = load_config(None, (*settings, "rollouts.importance_cap=1.5"))
    metrics = set_targets(buffer, config, mesh, version=make_rollout(0).policy_version)

    slow = slow_targets(rows)
    flat = {k: np.array([x for s in slow for x in s[k]]) for k in slow[0]}
    mean, deviation = flat["advantage"].mean(), math.sqrt(flat["advantage"].var(ddof=1) + 1e-8)
    for i, (prompt, response) in enumerate(SIZES):
        wanted = {
            "advantages": [(a - mean) / deviation for a in slow[i]["advantage"]],
            "returns": slow[i]["return"],
            "weights": [1 / (3 * response)] * response,
        }
        for name, values in wanted.items():
            assert buffer.rows(name)[i].tolist() == pytest.approx([0.0] * prompt + values, abs=1e-5)

    residual = (flat["return"] - flat["value"]).var(ddof=1)
    responses = [row[p:] for row, (p, _) in zip(rows["old_logprobs"], SIZES, strict=True)]
    apart = np.concatenate(responses) + 1
    for row, (p, _), response in zip(buffer.rows("importance"), SIZES, responses, strict=True):
        assert row[:p].tolist() == [0] * p
        assert row[p:] == pytest.approx(np.minimum(np.exp(response + 1), 1.5))
    entropies = [row[p:] for row, (p, _) in zip(rows["entropies"], SIZES, strict=True)]
    check_names(metrics)
    assert metrics == pytest.approx(
        {
            "kl/sequence": flat["kl"].sum() / 3,
            "kl/token": flat["kl"].mean(),
            "reward/kl": -BETA * flat["kl"].sum() / 3,
            "policy/entropy": np.concatenate(entropies).mean(),
            "value/explained_variance": max(-1, 1 - residual / flat["return"].var(ddof=1)),
            "value/mean": flat["value"].mean(),
            "return/mean": flat["return"].mean(),
            "advantage/mean": mean,
            "advantage/variance": flat["advantage"].var(ddof=1),
            "mismatch/ratio": np.exp(np.abs(apart)).mean(),
            "mismatch/mean": np.abs(apart).mean(),
            "mismatch/max": np.abs(apart).max(),
            "mismatch/k3": (np.exp(apart) - 1 - apart).mean(),
        },
        abs=1e-5,
    )
