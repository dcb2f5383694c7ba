"""One optimizer step: the same loss, gradient and weights, however the work is laid out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from reft_megatron.policy import StepStats
from tests.policy.plain import Plain
from tests.policy.scene import (
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


SHARED = "parallel.distributed_optimizer=true"
APART = "parallel.distributed_optimizer=false"
CLIPPED = "optimizer.clip_grad=1"


@pytest.fixture(scope="module")
def alone_apart(alone, fields):
    return play_three_updates(ONE, fields, APART)


@pytest.fixture(scope="module")
def alone_clipped(alone, fields):
    return play_three_updates(ONE, fields, APART, CLIPPED)


@pytest.mark.megatron
@pytest.mark.parametrize("name", SPREAD)
def test_loss_and_gradients_agree_with_one_rank(ranks, fields, alone_apart, name: str):
    layout = SPREAD[name]
    seen = ranks(layout.world, play_three_updates, layout, fields, APART)
    assert len({(s.loss, s.grad_norm) for stats, *_ in seen for s in stats[:1]}) == 1
    here, there = alone_apart[0][0], seen[0][0][0]
    loss = abs(there.loss - here.loss) / abs(here.loss)
    norm = abs(there.grad_norm - here.grad_norm) / here.grad_norm
    one = assemble([alone_apart[1]])
    other = assemble(rank[1] for rank in seen)
    assert other.keys() == one.keys()
    far = {key: distance(other[key], one[key]) for key in one}
    worst = max(far, key=far.get)
    print(f"\n{name:9} loss {loss:.1e}  norm {norm:.1e}  gradient {far[worst]:.1e} at {worst}")
    assert loss < 1e-5
    assert norm < 1e-5
    assert far[worst] < 1e-5, far


@pytest.mark.megatron
@pytest.mark.parametrize("overrides", [(APART,), (SHARED, CLIPPED)], ids=["apart", "shared"])
@pytest.mark.parametrize("name", SPREAD)
def test_three_updates_change_the_weights_alike(
    ranks, fields, weights, alone_apart, alone_clipped, name: str, overrides
):
    layout = SPREAD[name]
    seen = ranks(layout.world, play_three_updates, layout, fields, *overrides)
    one = assemble([(alone_apart if overrides == (APART,) else alone_clipped)[2]])
    other = assemble(rank[2] for rank in seen)
    changes = {key: (other[key] - weights[key], one[key] - weights[key]) for key in weights}
    both = [np.concatenate([pair[i].ravel() for pair in changes.values()]) for i in (0, 1)]
    far = {key: distance(*pair) for key, pair in changes.items()}
    worst = max(far, key=far.get)
    print(f"\n{name:9} change {distance(*both):.1e}, worst {far[worst]:.1e} at {worst}")
    assert distance(*both) < 1e-3
