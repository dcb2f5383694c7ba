"""One optimizer step: the same loss, gradient and weights, however the work is laid out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from reft_megatron.learner.losses import classification_loss
from reft_megatron.policy import StepStats
from tests.policy.plain import Plain
from tests.policy.scene import (
    LAYOUTS,
    ONE,
    PPO,
    SPREAD,
    Layout,
    assemble,
    distance,
    gradients_of,
    make_batches,
    make_rollouts,
    open_policy,
    weights_of,
)

Whole = dict[str, np.ndarray[Any, Any]]
Fields = dict[str, Whole]
SHARED = "parallel.distributed_optimizer=true"
APART = "parallel.distributed_optimizer=false"


def play_three_updates(
    layout: Layout, fields: Fields, *overrides: str
) -> tuple[list[StepStats], list[Any], list[Any]]:
    """Statistics of three updates, the first one's gradients, and the weights afterwards."""
    policy = open_policy(layout, *overrides)
    batches = make_batches(policy, fields)
    stats = [policy.update(batches, loss=PPO)]
    gradients = gradients_of(policy)
    stats += [policy.update(batches, loss=PPO) for _ in range(2)]
    return stats, gradients, weights_of(policy)


@pytest.fixture(scope="module")
def apart(alone, fields):
    return play_three_updates(ONE, fields, APART)


@pytest.fixture(scope="module")
def clipped(alone, fields):
    return play_three_updates(ONE, fields, APART, "optimizer.clip_grad=1")


def relative(a: float, b: float) -> float:
    return abs(a - b) / abs(b)


def farthest(other: Whole, one: Whole) -> tuple[float, str]:
    """The largest relative distance of any tensor, and its name."""
    assert other.keys() == one.keys()
    return max((distance(other[name], one[name]), name) for name in one)


@pytest.mark.megatron
@pytest.mark.parametrize("name", SPREAD)
def test_loss_and_gradients_agree_with_one_rank(ranks, fields, apart, name: str):
    layout = SPREAD[name]
    seen = ranks(layout.world, play_three_updates, layout, fields, APART)
    assert len({repr(replace(stats[0], bad_batches=())) for stats, *_ in seen}) == 1
    here, there = apart[0][0], seen[0][0][0]
    loss, norm = relative(there.loss, here.loss), relative(there.grad_norm, here.grad_norm)
    far, where = farthest(assemble(rank[1] for rank in seen), assemble([apart[1]]))
    print(f"\n{name:9} loss {loss:.1e}, gradient norm {norm:.1e}, gradients {far:.1e} ({where})")
    assert max(loss, norm, far) < 1e-5


@pytest.mark.megatron
@pytest.mark.parametrize("optimizer", ["apart", "shared and clipped"])
@pytest.mark.parametrize("name", SPREAD)
def test_three_updates_change_the_weights_alike(
    ranks, fields, weights, apart, clipped, *, name: str, optimizer: str
):
    layout = SPREAD[name]
    overrides = (APART,) if optimizer == "apart" else (SHARED, "optimizer.clip_grad=1")
    seen = ranks(layout.world, play_three_updates, layout, fields, *overrides)
    here = apart if optimizer == "apart" else clipped
    for a, b in zip(seen[0][0], here[0], strict=True):
        assert relative(a.loss, b.loss) < 1e-4
        assert relative(a.grad_norm, b.grad_norm) < 1e-4
    one, other = assemble([here[2]]), assemble(rank[2] for rank in seen)
    change, wanted = (
        np.concatenate([(whole[key] - weights[key]).ravel() for key in weights])
        for whole in (other, one)
    )
    far = distance(change, wanted)
    print(f"\n{name:9} optimizer {optimizer}: weight change after 3 updates {far:.1e}")
    assert far < 1e-3


def test_gradients_are_those_of_plain_torch(weights, fields, apart):
    plain = Plain(weights)
    loss = torch.zeros(())
    for rollout in make_rollouts():
        completion = rollout.completion
        tokens = np.concatenate([completion.prompt_ids, completion.token_ids])
        own = {k: torch.from_numpy(x) for k, x in fields[completion.problem_id].items()}
        own["mask"] = torch.arange(len(tokens)) >= len(completion.prompt_ids)
        loss = loss + PPO(plain.scores(torch.from_numpy(tokens).long()), own)[0]
    loss.backward()
    wanted = {name: tensor.grad.numpy() for name, tensor in plain.weights.items()}
    far, where = farthest(assemble([apart[1]]), wanted)
    print(f"\nfrom plain torch: gradients {far:.1e} ({where})")
    stats = apart[0][0]
    norm = math.sqrt(sum(float((x.astype(np.float64) ** 2).sum()) for x in wanted.values()))
    assert stats.loss == pytest.approx(loss.item(), rel=1e-5)
    assert stats.grad_norm == pytest.approx(norm, rel=1e-5)
    assert far < 1e-5


@pytest.mark.parametrize(("max_tokens", "count"), [(520, 1), (260, 2), (128, 4), (64, 9)])
@pytest.mark.parametrize("packed", [True, False])
def test_micro_batches_and_packing_do_not_change_the_gradient(
    alone, fields, apart, *, packed: bool, max_tokens: int, count: int
):
    policy = open_policy(ONE)
    batches = make_batches(policy, fields, packed=packed, max_tokens=max_tokens)
    assert len(batches) == count
    stats = policy.update(batches, loss=PPO)
    far, _ = farthest(assemble([gradients_of(policy)]), assemble([apart[1]]))
    assert stats.loss == pytest.approx(apart[0][0].loss, rel=1e-5)
    assert stats.sums == pytest.approx(apart[0][0].sums, rel=1e-5)
    assert far < 1e-5


def test_the_step_reports_what_it_did(apart):
    stats = apart[0]
    assert [s.applied for s in stats] == [True] * 3
    assert [s.lr for s in stats] == [1e-4] * 3
    assert [s.bad_batches for s in stats] == [()] * 3
    assert stats[0].loss == pytest.approx(
        stats[0].sums["pg_loss"] + 5 * stats[0].sums["vf_loss"], rel=1e-6
    )
    assert stats[1].loss < stats[0].loss


def play_a_bad_loss(layout: Layout, fields: Fields) -> Any:
    """An update in which one sequence's return is not a number, then a good one."""
    policy = open_policy(layout)
    before = weights_of(policy)
    spoilt = {**fields, "scene_003": {**fields["scene_003"], "returns": np.full(512, np.nan)}}
    n = len(fields["scene_003"]["returns"])
    spoilt["scene_003"]["returns"] = spoilt["scene_003"]["returns"][:n]
    batches = make_batches(policy, spoilt)
    bad = policy.update(batches, loss=PPO)
    after = weights_of(policy)
    good = policy.update(make_batches(policy, fields), loss=PPO)
    same = all(np.array_equal(a[3], b[3]) for a, b in zip(before, after, strict=True))
    return bad, same, good, [b.indices for b in batches if b.fields], policy.mesh.pipeline.last


@pytest.mark.megatron
@pytest.mark.parametrize("name", ["tp2-pp2", "dp2"])
def test_a_loss_that_is_not_finite_skips_the_step_everywhere(ranks, fields, apart, name: str):
    layout = LAYOUTS[name]
    seen = ranks(layout.world, play_a_bad_loss, layout, fields)
    reported = []
    for bad, same, good, indices, last in seen:
        assert not bad.applied
        assert same, "a skipped step leaves the weights bit for bit"
        assert math.isnan(bad.loss)
        assert math.isnan(bad.grad_norm)
        assert good.applied
        assert good.loss == pytest.approx(apart[0][0].loss, rel=1e-5)
        assert good.grad_norm == pytest.approx(apart[0][0].grad_norm, rel=1e-5)
        if last:
            assert all(batch in indices for batch in bad.bad_batches)
        reported.append(len(bad.bad_batches))
    # The last stage's two tensor ranks both tell; of two data ranks the one that has it.
    assert sorted(reported) == ([0, 0, 1, 1] if name == "tp2-pp2" else [0, 1])


def test_a_gradient_that_is_not_finite_skips_the_step(alone, fields):
    policy = open_policy(ONE)
    before = weights_of(policy)

    def steep(outputs, fields):
        loss = (outputs["values"] * 0).abs().sqrt().sum()
        return loss, {}

    stats = policy.update(make_batches(policy, fields), loss=steep)
    assert (stats.applied, stats.loss) == (False, 0.0)
    assert not math.isfinite(stats.grad_norm)
    assert stats.bad_batches == ()
    for a, b in zip(before, weights_of(policy), strict=True):
        np.testing.assert_array_equal(a[3], b[3])


def labelled_fields() -> Fields:
    """Every other rollout is right; a sequence counts at its last token."""
    fields = {}
    for i, rollout in enumerate(make_rollouts()):
        last = np.arange(rollout.completion.length) == rollout.completion.length - 1
        term = np.float32(1 / len(make_rollouts()))
        fields[rollout.completion.problem_id] = {"weights": last * term, "labels": last * (i % 2)}
    return fields


def play_classification(layout: Layout) -> tuple[StepStats, list[Any]]:
    """One update of a reranker: statistics and gradients."""
    policy = open_policy(layout, APART, "model.head=rerank")
    batches = make_batches(policy, labelled_fields(), names=("weights", "labels"))
    return policy.update(batches, loss=classification_loss), gradients_of(policy)


@pytest.mark.megatron
@pytest.mark.parametrize("name", ["1", "tp2"])
def test_a_reranker_learns_as_in_plain_torch(ranks, alone, name: str):
    layout = LAYOUTS[name]
    seen = ranks(layout.world, play_classification, layout)
    plain = Plain(assemble([weights_of(open_policy(ONE, "model.head=rerank"))]))
    scores = []
    for rollout in make_rollouts():
        said = rollout.completion
        tokens = torch.from_numpy(np.concatenate([said.prompt_ids, said.token_ids])).long()
        scores.append(plain.hidden(tokens)[-1] @ plain.weights["rerank_head.weight"].t())
    labels = torch.arange(len(scores)) % 2
    loss = torch.nn.functional.cross_entropy(torch.stack(scores), labels)
    loss.backward()
    wanted = {name: tensor.grad.numpy() for name, tensor in plain.weights.items()}
    far, where = farthest(assemble(rank[1] for rank in seen), wanted)
    print(f"\n{name:9} reranker: gradients {far:.1e} ({where})")
    assert seen[0][0].loss == pytest.approx(loss.item(), rel=1e-5)
    assert far < 1e-5
