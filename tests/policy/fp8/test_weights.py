"""The codes of weights: made once a version, and never of weights that were."""

from __future__ import annotations

import pytest
import torch

from reft_megatron.ops.fp8 import quantise_columns, quantise_rows
from reft_megatron.policy.fp8.weights import Fp8Weights


def drawn(seed: int) -> torch.nn.Parameter:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.Parameter(torch.randn(32, 48, generator=generator).bfloat16())


def same(one, other) -> bool:
    return all(
        torch.equal(a.view(torch.uint8), b.view(torch.uint8))
        for a, b in zip(one, other, strict=True)
    )


def test_weights_are_quantised_once():
    weights, weight = Fp8Weights(always=True), drawn(0)
    first = weights.rows(weight)
    assert same(first, quantise_rows(weight.detach()))
    assert same(weights.columns(weight), quantise_columns(weight.detach()))
    assert weights.rows(weight) is first
    assert weights.columns(weight) is weights.columns(weight)
    assert weights.rows(drawn(0)) is not first


def by_hand(weight):
    with torch.no_grad():
        weight.mul_(2)


def by_an_optimizer(weight):
    weight.data.mul_(2)  # which torch does not count


def elsewhere(weight):
    weight.data = weight.data * 2


@pytest.mark.parametrize(
    ("change", "tells"), [(by_hand, False), (by_an_optimizer, True), (elsewhere, False)]
)
def test_no_codes_outlive_their_weights(change, tells: bool):
    """Who writes where torch cannot see it says so; every other way is noticed."""
    weights, weight = Fp8Weights(always=True), drawn(0)
    before = weights.rows(weight), weights.columns(weight)
    change(weight)
    if tells:
        weights.changed()
    after = weights.rows(weight), weights.columns(weight)
    for old, new, quantise in zip(before, after, (quantise_rows, quantise_columns), strict=True):
        assert same(new, quantise(weight.detach()))
        assert not torch.equal(old.scale, new.scale)


def test_a_change_is_counted_and_leaves_nothing_behind():
    weights, weight = Fp8Weights(always=True), drawn(0)
    weights.rows(weight)
    assert (weights.version, len(weights._held)) == (0, 1)
    weights.changed()
    assert (weights.version, len(weights._held)) == (1, 0)


def test_sampling_alone():
    weights, weight = Fp8Weights(always=False), drawn(0)
    assert not weights.active
    with weights.sampling():
        assert weights.active
        held = weights.rows(weight)
        assert weights.rows(weight) is held
    assert not weights.active
    assert not weights._held, "an update has a use for the memory"


def test_sampling_keeps_what_training_shares_with_it():
    weights, weight = Fp8Weights(always=True), drawn(0)
    held = weights.rows(weight)
    weights.columns(weight)
    with weights.sampling():
        assert weights.rows(weight) is held
        assert [transposed for _, transposed in weights._held] == [False]
    assert weights.active
    assert weights.rows(weight) is held
