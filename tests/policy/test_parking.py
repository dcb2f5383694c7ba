"""A parked model scores as before, and its weights are away outside each use."""

from __future__ import annotations

import pytest
import torch

from reft_megatron.policy.parking import Parking
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


def test_weights_are_away_outside_the_block_however_it_ends(monkeypatch):
    chunk = torch.nn.Linear(3, 2)
    parking = Parking([chunk])
    host = {id(p): p.data_ptr() for p in chunk.parameters()}
    room = 2

    def to(tensor: torch.Tensor, device: object, *, non_blocking: bool) -> torch.Tensor:
        nonlocal room
        assert device == "elsewhere"
        assert non_blocking
        if room == 0:
            raise RuntimeError("out of memory")
        room -= 1
        return tensor.clone()

    monkeypatch.setattr(torch.Tensor, "to", to)
    monkeypatch.setattr(parking, "_device", "elsewhere")
    with parking.present():
        assert all(p.data_ptr() != host[id(p)] for p in chunk.parameters())
    room = 1
    with pytest.raises(RuntimeError, match="out of memory"), parking.present():
        raise AssertionError("the second weight had no room")
    assert {id(p): p.data_ptr() for p in chunk.parameters()} == host
