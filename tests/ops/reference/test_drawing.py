"""The reference of a draw against numbers by hand."""

from __future__ import annotations

import math

import pytest
import torch

from reft_megatron.ops.philox import gumbel
from reft_megatron.ops.reference.drawing import draw

KEYS, POSITIONS = torch.tensor([[1, 2]]), torch.tensor([3])


def test_numbers_by_hand():
    logits = torch.tensor([[0.0, 2 * math.log(3)]])
    how = {"start": 10, "temperature": 2.0, "greedy": True}
    score, token, logit, log_sum = draw(logits, KEYS, POSITIONS, **how)
    assert token.tolist() == [11]
    assert score.item() == logit.item() == pytest.approx(math.log(3))
    assert log_sum.item() == pytest.approx(math.log(4))


def test_noise_is_added_after_the_temperature():
    logits = torch.tensor([[0.0, 1.0]])
    noise = gumbel(KEYS, POSITIONS, start=0, count=2)[0]
    how = {"start": 0, "temperature": 0.5, "greedy": False}
    score, token, logit, _ = draw(logits, KEYS, POSITIONS, **how)
    wanted = [noise[0].item(), 2.0 + noise[1].item()]
    assert score.item() == pytest.approx(max(wanted))
    assert logit.item() == 2.0 * token.item() == 2.0 * wanted.index(max(wanted))
