"""The reference of decode attention against numbers by hand."""

from __future__ import annotations

import math

import torch

from reft_megatron.ops.reference.decode_attention import append, decode_attention


def test_numbers_by_hand():
    """Scores 0 and log 3 weigh values 1/4 and 3/4; two heads share one key."""
    keys = torch.tensor([[[[0.0], [1.0], [9.0]]]], dtype=torch.float64)
    values = torch.tensor([[[[4.0], [8.0], [9.0]]]], dtype=torch.float64)
    query = torch.tensor([[[math.log(3)], [0.0]]], dtype=torch.float64)
    found = decode_attention(query, keys, values, lengths=torch.tensor([2]))
    assert found.flatten().tolist() == [7.0, 6.0]
    one = decode_attention(query, keys, values, lengths=torch.tensor([2]), window=1)
    assert one.flatten().tolist() == [8.0, 8.0]


def test_tokens_land_where_they_should():
    keys, values = torch.zeros(3, 1, 4, 1), torch.zeros(3, 1, 4, 1)
    fresh = torch.tensor([[[1.0]], [[2.0]]])
    where = torch.tensor([3, -1])
    append(keys, values, key=fresh, value=-fresh, positions=where, rows=torch.tensor([2, 0]))
    assert keys.nonzero().tolist() == [[2, 0, 3, 0]]
    assert (keys[2, 0, 3, 0], values[2, 0, 3, 0]) == (1.0, -1.0)
