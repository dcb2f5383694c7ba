"""One inference step through the stages, with sequence parallelism off and then on again."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from reft_megatron.policy.attention import Rectangle
from reft_megatron.policy.generate.stages import forward_stages, whole_sequences
from tests.policy.plain import Plain
from tests.policy.scene import LAYOUTS, Layout, open_policy

TOKENS = torch.tensor([[5, 9, 3, 77, 20], [8, 8, 41, 4, 60]])


def marks(policy: Any) -> list[bool]:
    return [
        part.sequence_parallel
        for chunk in policy._chunks
        for part in (chunk.config, *chunk.modules())
        if hasattr(part, "sequence_parallel")
    ]


def play_one_step(layout: Layout) -> Any:
    """Hidden states of TOKENS, and the marks of sequence parallelism before, inside and after."""
    policy = open_policy(layout, total_steps=None)
    before = marks(policy)
    with torch.no_grad(), whole_sequences(policy._chunks):
        inside = marks(policy)
        out = forward_stages(
            policy._chunks,
            policy.mesh,
            TOKENS,
            positions=torch.arange(5).expand_as(TOKENS),
            layout_of=lambda index: Rectangle(),
            head=lambda model, hidden: hidden,
        )
    try:
        with whole_sequences(policy._chunks):
            raise KeyError
    except KeyError:
        after = marks(policy)
    return out, before, inside, after


@pytest.mark.megatron
@pytest.mark.parametrize("name", ["1", "tp2", "pp2", "pp2-vpp2", "tp2-pp2"])
def test_a_step_reaches_the_last_stage_whole(ranks, weights, name: str):
    layout = LAYOUTS[name]
    seen = ranks(layout.world, play_one_step, layout)
    plain = Plain(weights)
    with torch.no_grad():
        wanted = torch.stack([plain.hidden(row) for row in TOKENS], dim=1)
    for rank, (out, before, inside, after) in enumerate(seen):
        if rank < layout.world - layout.tensor:
            assert out is None
        else:
            torch.testing.assert_close(out, wanted, rtol=1e-5, atol=1e-5)
        assert any(before) == (layout.tensor > 1)
        assert not any(inside)
        assert after == before
