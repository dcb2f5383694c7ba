"""Galactica's sizes are those of its paper."""

from __future__ import annotations

import pytest

from reft_megatron.policy.families import Architecture
from reft_megatron.policy.families.galactica import PRESETS


def parameters(size: Architecture, vocab: int = 50_000) -> int:
    """Weights of an OPT of that size, Galactica's vocabulary by default."""
    embeddings = (vocab + size.positions) * size.hidden
    attention = 4 * size.hidden * (size.hidden + 1)
    feed_forward = 2 * size.hidden * size.ffn + size.ffn + size.hidden
    norms = 2 * 2 * size.hidden
    return embeddings + size.layers * (attention + feed_forward + norms) + 2 * size.hidden


@pytest.mark.parametrize(
    ("name", "billions"),
    [("125m", 0.125), ("1.3b", 1.3), ("6.7b", 6.7), ("30b", 30), ("120b", 120)],
)
def test_sizes_have_as_many_parameters_as_their_names_say(name: str, billions: float):
    size = PRESETS[f"galactica-{name}"]
    assert parameters(size) / 1e9 == pytest.approx(billions, rel=0.025)
    assert size.positions == 2048


def test_every_size_is_galactica():
    for size in PRESETS.values():
        assert (size.activation, size.bias, size.norm_affine, size.tied) == (
            "gelu",
            True,
            True,
            True,
        )
        assert size.ffn == 4 * size.hidden
        assert size.hidden % size.heads == 0
