from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reft_megatron.learner.reward import token_kl, token_rewards


@settings(max_examples=50, deadline=None)
@given(
    spans=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 6)), min_size=1, max_size=5),
    seed=st.integers(0, 2**16),
)
def test_agrees_with_loops_over_tokens(spans: list[tuple[int, int]], seed: int):
    rng = np.random.default_rng(seed)
    shape = (len(spans), max(p + n for p, n in spans) + 1)
    logprobs, ref = rng.normal(-1, 1, shape), rng.normal(-1, 1, shape)
    scores = rng.choice([0, 0.1, 1], shape[0])
    wanted, mask = np.zeros(shape), np.zeros(shape, bool)
    for i, (prompt, response) in enumerate(spans):
        for t in range(prompt, prompt + response):
            mask[i, t] = True
            wanted[i, t] = -0.05 * (logprobs[i, t] - ref[i, t])
            if t == prompt + response - 1:
                wanted[i, t] += scores[i]
    seen = token_rewards(
        scores=torch.tensor(scores),
        logprobs=torch.tensor(logprobs),
        ref_logprobs=torch.tensor(ref),
        mask=torch.tensor(mask),
        kl_coef=0.05,
    )
    assert seen.dtype == torch.float32
    np.testing.assert_allclose(seen.numpy(), wanted, atol=1e-6)


def test_what_does_not_count_cannot_poison():
    nan = math.nan
    mask = torch.tensor([[False, True, True, False]])
    logprobs = torch.tensor([[nan, -1.0, -2.0, nan]])
    ref = torch.tensor([[nan, -1.5, -1.0, -math.inf]])
    kl = token_kl(logprobs, ref, mask)
    rewards = token_rewards(
        scores=torch.tensor([1.0]), logprobs=logprobs, ref_logprobs=ref, mask=mask, kl_coef=0.1
    )
    torch.testing.assert_close(kl, torch.tensor([[0.0, 0.5, -1.0, 0.0]]))
    torch.testing.assert_close(rewards, torch.tensor([[0.0, -0.05, 1.1, 0.0]]))
