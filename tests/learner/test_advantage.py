from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reft_megatron.errors import TrainingError
from reft_megatron.learner.advantage import gae, mean_and_variance, moments, whiten

RAGGED = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 8)), min_size=1, max_size=6)


def _batch(spans: list[tuple[int, int]], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rewards, values and mask [B, T] of sequences of (prompt, response) tokens; NaN elsewhere."""
    rng = np.random.default_rng(seed)
    shape = (len(spans), max(p + n for p, n in spans) + 1)
    mask = np.zeros(shape, bool)
    for i, (prompt, response) in enumerate(spans):
        mask[i, prompt : prompt + response] = True
    rewards = np.where(mask, rng.normal(0, 1, shape), math.nan)
    values = np.where(mask, rng.normal(0, 1, shape), math.nan)
    return rewards, values, mask


@settings(max_examples=100, deadline=None)
@given(spans=RAGGED, seed=st.integers(0, 2**16), gamma=st.floats(0.5, 1), lam=st.floats(0, 1))
def test_gae_agrees_with_the_definition(
    spans: list[tuple[int, int]], seed: int, gamma: float, lam: float
):
    rewards, values, mask = _batch(spans, seed)
    wanted, returns = np.zeros(mask.shape), np.zeros(mask.shape)
    for i, (prompt, response) in enumerate(spans):
        r = rewards[i, prompt : prompt + response].tolist()
        v = [*values[i, prompt : prompt + response].tolist(), 0.0]
        for t in range(response):
            deltas = [r[k] + gamma * v[k + 1] - v[k] for k in range(t, response)]
            advantage = sum((gamma * lam) ** k * delta for k, delta in enumerate(deltas))
            wanted[i, prompt + t] = advantage
            returns[i, prompt + t] = advantage + v[t]
    seen = gae(
        rewards=torch.tensor(rewards),
        values=torch.tensor(values),
        mask=torch.tensor(mask),
        gamma=gamma,
        lam=lam,
    )
    assert seen.advantages.dtype == seen.returns.dtype == torch.float32
    np.testing.assert_allclose(seen.advantages.numpy(), wanted, atol=2e-6)
    np.testing.assert_allclose(seen.returns.numpy(), returns, atol=2e-6)


@settings(max_examples=50, deadline=None)
@given(spans=RAGGED, more=RAGGED, seed=st.integers(0, 2**16))
def test_whitening_over_two_ranks_equals_numpy_over_all(
    spans: list[tuple[int, int]], more: list[tuple[int, int]], seed: int
):
    parts = [_batch([*spans, (1, 2)], seed), _batch(more, seed + 1)]
    everything = np.concatenate([rewards[mask] for rewards, _, mask in parts])
    sums = sum(moments(torch.tensor(x), torch.tensor(mask)) for x, _, mask in parts)
    mean, var = mean_and_variance(sums)
    assert mean == pytest.approx(everything.mean(), abs=1e-9)
    assert var == pytest.approx(everything.var(ddof=1), abs=1e-9)
    x, _, mask = parts[0]
    white = whiten(torch.tensor(x), torch.tensor(mask), mean=mean, var=var)
    wanted = (x[mask] - everything.mean()) / np.sqrt(everything.var(ddof=1) + 1e-8)
    assert white.dtype == torch.float32
    np.testing.assert_allclose(white.numpy()[mask], wanted, rtol=1e-5, atol=1e-6)
    assert not white.numpy()[~mask].any()


def test_a_batch_of_no_sequences_has_no_advantages():
    nothing = torch.zeros(0, 0)
    seen = gae(rewards=nothing, values=nothing, mask=nothing.bool(), gamma=1.0, lam=0.95)
    assert seen.advantages.shape == seen.returns.shape == (0, 0)
    assert moments(nothing, nothing.bool()).tolist() == [0, 0, 0]


def test_one_token_cannot_be_whitened():
    with pytest.raises(TrainingError) as caught:
        mean_and_variance(torch.tensor([0.5, 0.25, 1.0], dtype=torch.float64))
    assert str(caught.value) == (
        "whitening needs at least 2 response tokens over all data ranks, saw 1; "
        "look at the completions of this batch in the rollout ledger."
    )
