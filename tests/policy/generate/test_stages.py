"""The ring of stages, and sequence parallelism off and then on again."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from reft_megatron.policy.generate.stages import Ring, whole_sequences
from tests.policy.scene import LAYOUTS, Layout, open_policy


def marks(policy: Any) -> list[bool]:
    return [
        part.sequence_parallel
        for chunk in policy.chunks
        for part in (chunk.config, *chunk.modules())
        if hasattr(part, "sequence_parallel")
    ]


def play_ring(layout: Layout) -> Any:
    """What a rank hears when every stage sends before it listens, and the switch's marks."""
    policy = open_policy(layout, total_steps=None)
    ring, axis = Ring(policy.mesh), policy.mesh.pipeline
    own = 0.1 + axis.rank
    for _ in range(20):
        ring.send_numbers([own, 7.0])
        ring.send_hidden(torch.full((3, 1, 2), own))
    heard = [
        (ring.receive_numbers(2), ring.receive_hidden((3, 1, 2), torch.float32)) for _ in range(20)
    ]
    ring.close()
    before = marks(policy)
    try:
        with whole_sequences(policy.chunks):
            inside = marks(policy)
            raise KeyError
    except KeyError:
        after = marks(policy)
    return axis.rank, heard, ring.waited_s, before, inside, after


@pytest.mark.megatron
@pytest.mark.parametrize("name", ["pp2", "tp2-pp2"])
def test_what_a_stage_sends_reaches_the_next_in_order(ranks, name: str):
    layout = LAYOUTS[name]
    for stage, heard, waited_s, before, inside, after in ranks(layout.world, play_ring, layout):
        wanted = 0.1 + (stage - 1) % 2
        for numbers, hidden in heard:
            assert numbers == [wanted, 7.0], "fp64 all the way"
            assert torch.equal(hidden, torch.full((3, 1, 2), wanted))
        assert waited_s > 0
        assert any(before) == (layout.tensor > 1)
        assert not any(inside)
        assert after == before
