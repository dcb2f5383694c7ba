"""What the tests of precisions play with: a policy that samples, scores and learns in one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reft_megatron.ops.sampling import Sampling
from reft_megatron.policy import Policy
from tests.policy.scene import (
    PPO,
    Layout,
    make_batches,
    make_prompts,
    open_policy,
    scores_by_problem,
)

FP8, ROLLOUT, BF16 = (f"model.precision={name}" for name in ("fp8", "fp8_rollout", "bf16"))
SHORT = "generate.max_new_tokens=3"
PROMPTS = make_prompts(3)
Said = list[tuple[list[int], list[float]]]
Scores = np.ndarray[Any, Any]
Played = tuple[Said, float, Said, Scores]


def sample(policy: Policy) -> Said:
    """Tokens and log-probs of a completion of each prompt."""
    done = policy.generate(PROMPTS, sampling=Sampling(seed=5))
    return [(c.token_ids.tolist(), c.logprobs.tolist()) for c in done]


def scored(policy: Policy) -> Scores:
    scores = scores_by_problem(policy)
    return np.concatenate([np.empty(0), *(scores[key]["logprobs"] for key in sorted(scores))])


def learn(policy: Policy, fields: Any, steps: int = 1) -> list[float]:
    batches = make_batches(policy, fields)
    return [policy.update(batches, loss=PPO).loss for _ in range(steps)]


def apart(one: Scores, other: Scores) -> float:
    return float(np.abs(one - other).mean())


def play(layout: Layout, fields: Any, *settings: str) -> Played:
    """A sample, a step's loss, another sample, and scores, of a policy in FP8 on this rank."""
    policy = open_policy(layout, FP8, SHORT, *settings)
    before = sample(policy)
    loss = learn(policy, fields)[0]
    return before, loss, sample(policy), scored(policy)


def check_ranks_agree(here: Played, seen: list[Played], *, noise: float) -> None:
    """Ranks say the same; and what one rank says, but for the `noise` of quantising."""
    for one, other in zip(*seen, strict=True):
        np.testing.assert_array_equal(np.asarray(one, object), np.asarray(other, object))
    before, loss, after, scores = seen[0]
    assert before != after
    assert loss == pytest.approx(here[1], rel=0.05)
    far = apart(scores, here[3])
    print(f"\nmean |log-prob of two ranks - of one|: {far:.3f}; fp8 - fp32: {noise:.3f}")
    assert far < 1.5 * noise
