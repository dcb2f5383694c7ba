"""The longest sequence: the tighter of positions and, in training, a micro-batch."""

from __future__ import annotations

import pytest

from reft_megatron.config import load_config
from reft_megatron.policy.families import find_architecture
from reft_megatron.recipes.room import Room, room_of

POSITIONS = Room(tokens=1024, limit="the positions of galactica-tiny (1024)")


@pytest.mark.parametrize(
    ("tokens", "trained", "room"),
    [
        (4096, True, POSITIONS),
        (100, True, Room(tokens=100, limit="optimizer.micro_batch_tokens (100)")),
        (100, False, POSITIONS),
    ],
)
def test_the_tighter_limit_counts(tokens: int, trained: bool, room: Room) -> None:
    config = load_config(None, [f"optimizer.micro_batch_tokens={tokens}"])
    tiny = find_architecture("galactica-tiny")
    assert room_of(tiny, config, trained=trained) == room
