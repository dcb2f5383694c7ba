"""Sampler against trainer, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from reft_megatron.learner.mismatch import importance_weights, mismatch_statistics


def test_statistics_by_hand():
    found = mismatch_statistics(torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([-1.0, -2.5, -2.0]))
    assert found == {
        "ratio": pytest.approx((1 + math.exp(0.5) + math.e) / 3),
        "mean": pytest.approx(0.5),
        "max": 1.0,
        "k3": pytest.approx((math.exp(-0.5) - 1 + 0.5 + math.e - 2) / 3),
    }


def test_nothing_differs_from_nothing():
    empty = torch.zeros(0)
    assert mismatch_statistics(empty, empty) == {"ratio": 1.0, "mean": 0.0, "max": 0.0, "k3": 0.0}


def test_weights_are_ratios_up_to_the_cap():
    sampler = torch.tensor([[-1.0, -2.0, -9.0], [-1.0, torch.nan, -1.0]])
    trainer = torch.tensor([[-1.5, -1.0, -1.0], [-1.0, -1.0, torch.nan]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    found = importance_weights(sampler, trainer, mask, cap=2.0)
    wanted = torch.tensor([[math.exp(-0.5), 2.0, 2.0], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(found, wanted)
