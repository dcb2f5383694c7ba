"""Rollouts for the tests of the buffer."""

from __future__ import annotations

import numpy as np

from reft_megatron.types import Completion, Reason, Rollout, Verdict


def make_rollout(
    number: int,
    sample: int,
    *,
    text: str | None = None,
    verdict: Verdict | None = None,
    policy_version: int = 0,
    finished: bool = True,
) -> Rollout:
    """A ragged random rollout of problem `number`; every other one is worth something."""
    rng = np.random.default_rng([number, sample])
    prompt, response = rng.integers(2, 8), rng.integers(1, 20)
    return Rollout(
        completion=Completion(
            problem_id=f"gsm8k_{number:03d}",
            sample=sample,
            prompt_ids=rng.integers(3, 80, prompt, dtype=np.int32),
            token_ids=rng.integers(3, 80, response, dtype=np.int32),
            logprobs=-rng.random(response, dtype=np.float32),
            finished=finished,
        ),
        text=f"{number}/{sample}" if text is None else text,
        verdict=verdict or Verdict(reason=Reason.NO_SOLUTION),
        reward=float(number % 2),
        policy_version=policy_version,
        seed=1,
    )
