from __future__ import annotations

import torch

from reft_megatron.learner.align import about_tokens, next_tokens


def test_each_position_predicts_the_token_after_it():
    tokens = torch.tensor([[5, 6, 7], [8, 9, 1]])
    assert next_tokens(tokens, pad_id=1).tolist() == [[6, 7, 1], [9, 1, 1]]


def test_outputs_of_a_position_are_about_the_token_after_it():
    x = torch.tensor([[0.5, 0.6, 0.7], [0.8, 0.9, 1.0]], requires_grad=True)
    shifted = about_tokens(x)
    torch.testing.assert_close(shifted, torch.tensor([[0.0, 0.5, 0.6], [0.0, 0.8, 0.9]]))
    shifted.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[1, 1, 0], [1, 1, 0]]


def test_the_two_shifts_meet_on_the_same_token():
    tokens = torch.randint(2, 100, (3, 8), generator=torch.Generator().manual_seed(0))
    predicted = about_tokens(next_tokens(tokens, pad_id=0).double())
    assert torch.equal(predicted[:, 1:], tokens[:, 1:].double())


def test_packing_changes_only_the_first_token_of_a_sequence():
    first, second = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[4.0, 5.0]])
    packed = about_tokens(torch.cat([first, second], dim=1))
    apart = torch.cat([about_tokens(first), about_tokens(second)], dim=1)
    assert torch.nonzero(packed != apart).tolist() == [[0, 3]]
