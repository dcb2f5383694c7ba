"""The six verbs together: precision, recomputation, dropout, and two policies side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from reft_megatron.learner.losses import supervised_loss
from reft_megatron.ops.sampling import Sampling
from reft_megatron.policy import StepStats
from tests.policy.scene import (
    LAYOUTS,
    ONE,
    PPO,
    Layout,
    assemble,
    distance,
    gradients_of,
    make_batches,
    make_prompts,
    open_policy,
    scores_by_problem,
    weights_of,
)

Whole = dict[str, np.ndarray[Any, Any]]


def play_one_update(layout: Layout, fields: Any, *overrides: str) -> tuple[StepStats, list[Any]]:
    policy = open_policy(layout, "parallel.distributed_optimizer=false", *overrides)
    stats = policy.update(make_batches(policy, fields), loss=PPO)
    return stats, gradients_of(policy)


@pytest.fixture(scope="module")
def plain_update(alone, fields) -> tuple[StepStats, Whole]:
    stats, gradients = play_one_update(ONE, fields)
    return stats, assemble([gradients])


# ---------------------------------------------------------------- recomputation


@pytest.mark.parametrize("recompute", ["selective", "full"])
def test_recomputation_changes_no_gradient(alone, fields, plain_update, recompute: str):
    stats, gradients = play_one_update(ONE, fields, f"model.recompute={recompute}")
    wanted = plain_update[1]
    assert stats.loss == pytest.approx(plain_update[0].loss, rel=1e-6)
    found = assemble([gradients])
    assert max(distance(found[name], wanted[name]) for name in wanted) < 1e-6


@pytest.mark.megatron
def test_recomputation_works_in_a_pipeline_with_sequence_parallelism(ranks, fields, plain_update):
    layout = LAYOUTS["tp2-pp2"]
    seen = ranks(layout.world, play_one_update, layout, fields, "model.recompute=full")
    found, wanted = assemble(rank[1] for rank in seen), plain_update[1]
    assert max(distance(found[name], wanted[name]) for name in wanted) < 1e-5


def test_recomputation_keeps_less(alone, fields):
    kept: dict[str, int] = {}
    for recompute in ("none", "selective", "full"):
        policy = open_policy(ONE, f"model.recompute={recompute}")
        sizes: list[int] = []

        def keep(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        def loss(outputs, fields, sizes=sizes, recompute=recompute):
            # The forward pass is over: what is kept now is kept for the backward pass.
            kept[recompute] = sum(sizes)
            return PPO(outputs, fields)

        batches = make_batches(policy, fields, max_tokens=1000)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            policy.update(batches, loss=loss)
    print(f"\nnumbers kept for the backward pass: {kept}")
    assert kept["full"] < 0.5 * kept["selective"]
    assert kept["selective"] < 0.9 * kept["none"]


# ---------------------------------------------------------------- precision


def play_bf16(layout: Layout, fields: Any) -> tuple[list[StepStats], list[Any], list[str], float]:
    policy = open_policy(layout, "model.precision=bf16")
    batches = make_batches(policy, fields)
    stats = [policy.update(batches, loss=PPO) for _ in range(2)]
    kinds = sorted({str(p.dtype) for chunk in policy._chunks for p in chunk.parameters()})
    inner = policy._optimizer.optimizer
    masters = {p.dtype for group in inner.param_groups for p in group["params"]}
    assert masters == {torch.float32}
    completions = policy.generate(make_prompts(4), sampling=Sampling(seed=1))
    return stats, weights_of(policy), kinds, sum(len(c.token_ids) for c in completions)


@pytest.mark.megatron
@pytest.mark.parametrize("name", ["1", "tp2-pp2"])
def test_bf16_stays_near_fp32(ranks, weights, fields, plain_update, name: str):
    layout = LAYOUTS[name]
    seen = ranks(layout.world, play_bf16, layout, fields)
    stats, _, _, tokens = seen[0]
    assert all(s.applied for s in stats)
    assert stats[0].loss == pytest.approx(plain_update[0].loss, rel=0.05)
    assert stats[0].grad_norm == pytest.approx(plain_update[0].grad_norm, rel=0.1)
    assert tokens > 4
    # The value head stays in fp32, on the last stage.
    assert seen[-1][2] == ["torch.bfloat16", "torch.float32"]
    found = assemble(rank[1] for rank in seen)
    for key, wanted in weights.items():
        assert distance(found[key], wanted) < 0.02, key


def test_bf16_scores_stay_near_fp32(still):
    policy = open_policy(ONE, "model.precision=bf16", total_steps=None)
    found, wanted = scores_by_problem(policy), scores_by_problem(still)
    for key, rows in wanted.items():
        assert abs(found[key]["logprobs"] - rows["logprobs"])[1:].mean() < 0.1
        assert abs(found[key]["values"] - rows["values"])[1:].mean() < 0.05


# ---------------------------------------------------------------- dropout


def play_dropout(layout: Layout, fields: Any) -> tuple[list[StepStats], list[Any], bool]:
    """Two updates with dropout; was scoring the same before and between, despite dropout?"""
    policy = open_policy(layout, "model.dropout=0.3", "optimizer.lr=1e-9", "optimizer.eps=1e-3")
    batches = make_batches(policy, fields)
    stats = [policy.update(batches, loss=supervised_loss)]
    first, second = scores_by_problem(policy), scores_by_problem(policy)
    stats.append(policy.update(batches, loss=supervised_loss, dropout=True))
    stats.append(policy.update(batches, loss=supervised_loss, dropout=True))
    same = all(np.array_equal(first[k][n], second[k][n]) for k in first for n in first[k])
    return stats, weights_of(policy), same


@pytest.mark.megatron
@pytest.mark.parametrize("name", ["1", "tp2", "pp2"])
def test_dropout_drops_only_when_asked_and_alike_on_all_ranks(ranks, fields, name: str):
    layout = LAYOUTS[name]
    seen = ranks(layout.world, play_dropout, layout, fields)
    stats, _, same = seen[0]
    losses = [s.loss for s in stats]
    assert len({tuple(s.loss for s in rank[0]) for rank in seen}) == 1
    assert same, "scoring never drops"
    assert abs(losses[1] - losses[0]) > 1e-3
    assert abs(losses[2] - losses[1]) > 1e-3
    assert losses[0] == pytest.approx(ranks(1, play_dropout, ONE, fields)[0][0][0].loss, rel=1e-5)
    assemble(rank[1] for rank in seen)  # copies of a parameter stay equal


# ---------------------------------------------------------------- life


def test_a_frozen_policy_has_no_gradients_and_no_updates(still, fields):
    assert not any(p.requires_grad for chunk in still._chunks for p in chunk.parameters())
    with pytest.raises(AssertionError, match=r"^a frozen policy cannot be updated$"):
        still.update(make_batches(still, fields), loss=PPO)


def test_two_policies_live_side_by_side(alone, weights, fields):
    learner, reference = open_policy(ONE), open_policy(ONE, total_steps=None)
    before = scores_by_problem(reference)
    batches = make_batches(learner, fields)
    learner.update(batches, loss=PPO)
    learner.generate(make_prompts(3), sampling=Sampling())
    after = scores_by_problem(reference)
    for key, rows in before.items():
        for name, row in rows.items():
            np.testing.assert_array_equal(after[key][name], row)
    for key, tensor in assemble([weights_of(reference)]).items():
        np.testing.assert_array_equal(tensor, weights[key])
    assert any(
        not np.array_equal(x, weights[key]) for key, x in assemble([weights_of(learner)]).items()
    )
    assert (learner.version, reference.version) == (1, 0)


def test_updates_follow_the_schedule(alone, fields):
    policy = open_policy(
        ONE, "optimizer.schedule=linear", "optimizer.warmup_fraction=0.5", total_steps=4
    )
    batches = make_batches(policy, fields)
    rates = [policy.update(batches, loss=PPO).lr for _ in range(4)]
    assert rates == pytest.approx([5e-5, 1e-4, 1e-4, 5e-5])
    assert policy.version == 4


def play_generation_between_updates(layout: Layout, fields: Any) -> StepStats:
    policy = open_policy(layout, "parallel.distributed_optimizer=false")
    own = make_prompts(4)[policy.mesh.data.rank :: policy.mesh.data.size]
    policy.generate(own, sampling=Sampling())
    return policy.update(make_batches(policy, fields), loss=PPO)


@pytest.mark.megatron
@pytest.mark.parametrize("name", ["tp2", "tp2-pp2"])
def test_generation_leaves_training_as_it_was(ranks, fields, plain_update, name: str):
    layout = LAYOUTS[name]
    for stats in ranks(layout.world, play_generation_between_updates, layout, fields):
        assert stats.loss == pytest.approx(plain_update[0].loss, rel=1e-5)
        assert stats.grad_norm == pytest.approx(plain_update[0].grad_norm, rel=1e-5)
