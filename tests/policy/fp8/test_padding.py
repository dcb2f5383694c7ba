"""Padding of tokens, behind each rank's own."""

from __future__ import annotations

import pytest
import torch

from reft_megatron.policy.fp8.padding import pad, unpad


@pytest.mark.parametrize("parts", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 15, 16, 17, 32])
def test_each_run_is_padded_behind_itself(parts: int, length: int):
    x = torch.arange(1.0, parts * length * 6 + 1).view(parts * length, 2, 3)
    padded = pad(x, parts=parts, multiple=16)
    assert padded.shape == (parts * (-(-length // 16) * 16), 2, 3)
    for run, own in zip(padded.chunk(parts), x.chunk(parts), strict=True):
        assert torch.equal(run[:length], own)
        assert not run[length:].any()
    assert torch.equal(unpad(padded, parts=parts, length=length), x)


def test_what_fits_is_not_copied():
    x = torch.ones(32, 1, 4)
    assert pad(x, parts=2, multiple=16) is x
    assert unpad(x, parts=2, length=16) is x


def test_padding_has_no_gradient():
    x = torch.ones(6, 1, 4, requires_grad=True)
    unpad(pad(x, parts=2, multiple=16) * 2, parts=2, length=3).sum().backward()
    assert torch.equal(x.grad, torch.full_like(x, 2))
