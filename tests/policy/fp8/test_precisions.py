"""A policy in each precision: samples, scores and learns, on codes of its present weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reft_megatron.errors import CheckpointError
from reft_megatron.learner.mismatch import mismatch_statistics
from reft_megatron.ops.sampling import Sampling
from reft_megatron.rollouts.buffer import RolloutBuffer
from reft_megatron.types import Completion, Reason, Rollout, Verdict
from tests.policy.fp8.precision_scene import (
    BF16,
    FP8,
    ROLLOUT,
    SHORT,
    apart,
    check_ranks_agree,
    learn,
    play,
    sample,
    scored,
)
from tests.policy.scene import (
    LAYOUTS,
    ONE,
    PAD,
    PPO,
    assemble,
    gradients_of,
    make_batches,
    make_prompts,
    open_other,
    open_policy,
    weights_of,
)


def test_fp8_rollout_learns_as_bf16_and_samples_in_fp8(alone, fields):
    one, other = open_policy(ONE, BF16, SHORT), open_policy(ONE, ROLLOUT, SHORT)
    np.testing.assert_array_equal(scored(one), scored(other))
    assert learn(one, fields, 2) == learn(other, fields, 2)
    learnt, also = (assemble([weights_of(policy)]) for policy in (one, other))
    for name in learnt:
        np.testing.assert_array_equal(learnt[name], also[name])
    assert sample(one) != sample(other)


@pytest.mark.parametrize("precision", [FP8, ROLLOUT])
def test_no_stale_weights_are_sampled_from(alone, fields, tmp_path: Path, *, precision: str):
    """After updates, and after loading, a policy says what one says that never was another."""
    policy = open_policy(ONE, precision, SHORT)
    before = sample(policy)
    assert sample(policy) == before
    learn(policy, fields)
    moved = sample(policy)
    assert moved != before
    policy.save(tmp_path / "moved", extra={})
    fresh = open_other(ONE, precision, SHORT)
    sample(fresh)
    scored(fresh)
    fresh.load(tmp_path / "moved", weights_only=True)
    assert sample(fresh) == moved
    np.testing.assert_array_equal(scored(fresh), scored(policy))


def test_training_goes_on_bit_for_bit(alone, fields, tmp_path: Path):
    policy = open_policy(ONE, FP8, SHORT)
    learn(policy, fields)
    policy.save(tmp_path / "one", extra={})
    sample(policy)
    losses = learn(policy, fields, 2)
    again = open_other(ONE, FP8)
    again.load(tmp_path / "one", weights_only=False)
    assert learn(again, fields, 2) == losses
    for a, b in zip(weights_of(policy), weights_of(again), strict=True):
        np.testing.assert_array_equal(a[3], b[3])
    with pytest.raises(CheckpointError, match="written for precision 'fp8', but this run has 'bf1"):
        open_other(ONE, BF16).load(tmp_path / "one", weights_only=False)


def test_a_step_with_an_infinity_on_its_way_is_skipped(alone, fields):
    policy = open_policy(ONE, FP8)
    before = weights_of(policy)

    def loss(outputs, batch):
        policy.chunks[0].config.fp8_weights.faults(policy.mesh.device).add_(1)
        return PPO(outputs, batch)

    stats = policy.update(make_batches(policy, fields), loss=loss)
    assert not stats.applied
    assert np.isfinite(stats.loss)
    for a, b in zip(before, weights_of(policy), strict=True):
        np.testing.assert_array_equal(a[3], b[3])
    assert policy.update(make_batches(policy, fields), loss=PPO).applied


def test_recomputed_layers_have_the_same_gradient(alone, fields):
    def gradients(recompute: str) -> list[Any]:
        policy = open_policy(ONE, FP8, f"model.recompute={recompute}")
        learn(policy, fields)
        return gradients_of(policy)

    kept = gradients("none")
    for recompute in ("full", "selective"):
        for a, b in zip(kept, gradients(recompute), strict=True):
            np.testing.assert_array_equal(a[3], b[3])


def test_a_few_steps_go_as_in_bf16(alone, fields):
    ours, plain = (learn(open_policy(ONE, name), fields, 4) for name in (FP8, BF16))
    print(f"\nloss in fp8: {ours}; in bf16: {plain}")
    assert ours == pytest.approx(plain, rel=0.1)
    assert ours[-1] < ours[0]


def test_samplers_differ_from_trainers_by_what_is_quantised(alone):
    """Least where neither is; in FP8 throughout by the cache, which trainers do not have; most
    where the sampler alone is."""

    def differ(*overrides: str) -> float:
        policy = open_policy(ONE, *overrides, total_steps=None)
        done = policy.generate(make_prompts(16), sampling=Sampling(seed=5))
        buffer = RolloutBuffer(policy.mesh, pad_id=PAD)
        buffer.fill([_rollout(completion) for completion in done])
        buffer.distribute(max_tokens=260, multiple_of=1)
        buffer.put(
            "old_logprobs",
            policy.score(buffer.micro_batches((), packed=True, length_multiple=1))["logprobs"],
        )
        of = buffer.mask
        pair = buffer.padded("sampler_logprobs")[of], buffer.padded("old_logprobs")[of]
        return mismatch_statistics(*pair)["mean"]

    bf16, bare, fp8 = differ(BF16), differ(FP8, "fp8.cache=false"), differ(FP8)
    rollout = differ(ROLLOUT)
    print(
        f"\nmean |sampler - trainer|: bf16 {bf16:.4f}, fp8 with a bf16 cache {bare:.4f}, fp8 "
        f"{fp8:.4f}, fp8_rollout {rollout:.4f}"
    )
    assert bf16 < bare < fp8 < rollout
    assert bare < 0.6 * fp8


def _rollout(completion: Completion) -> Rollout:
    return Rollout(
        completion=completion,
        text="",
        verdict=Verdict(reason=Reason.CORRECT),
        reward=1.0,
        policy_version=0,
        seed=0,
    )


@pytest.mark.megatron
def test_two_tensor_ranks_say_and_learn_the_same_within_the_noise(ranks, alone, fields):
    here = play(ONE, fields)
    seen = ranks(2, play, LAYOUTS["tp2"], fields)
    noise = apart(scored(open_policy(ONE)), scored(open_policy(ONE, FP8)))
    check_ranks_agree(here, seen, noise=noise)


@pytest.mark.megatron
def test_two_stages_say_and_learn_the_same(ranks, alone, fields):
    """What a layer computes does not depend on the stage that has it."""
    before, loss, _, scores = play(ONE, fields)
    seen = ranks(2, play, LAYOUTS["pp2"], fields)
    assert seen[0][:3] == seen[1][:3]
    # Sequences take their steps in other company.
    for (tokens, logprobs), (others, theirs) in zip(before, seen[0][0], strict=True):
        assert tokens == others
        assert logprobs == pytest.approx(theirs, abs=0.1)
    most = np.abs(seen[1][3] - scores).max()
    print(f"\ntwo stages: loss {seen[1][1] - loss:.1e}, log-probs after the step {most:.1e}")
    assert seen[1][1] == pytest.approx(loss, rel=1e-6)
    assert most < 0.01
