"""A parked model scores as before. (That its weights come and go shows on a GPU only.)"""

from __future__ import annotations

import pytest
import torch

from tests.policy.scene import ONE, make_batches, open_policy


def test_a_parked_policy_scores_the_same(alone, fields):
    policy = open_policy(ONE, total_steps=None)
    batches = make_batches(policy, fields)
    before = policy.score(batches)
    policy.park()
    for name, rows in policy.score(batches).items():
        assert all(map(torch.equal, rows, before[name]))


def test_what_trains_is_not_parked(alone):
    with pytest.raises(AssertionError, match=r"^only a frozen policy can wait elsewhere$"):
        open_policy(ONE).park()
