"""The longest sequence: the tighter of positions and, in training, a micro-batch."""

from __future__ import annotations

import pytest

from reft_megatron.config import load_config
from reft_megatron.errors import DataError
from reft_megatron.policy.families import find_architecture
from reft_megatron.recipes.room import Room, check_length, room_of

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


def test_a_rollout_that_is_longer_is_refused() -> None:
    config = load_config(None, ["optimizer.micro_batch_tokens=100"])
    tiny = find_architecture("galactica-tiny")
    check_length(tiny, config, tokens=100, problem="p_1")
    with pytest.raises(DataError) as error:
        check_length(tiny, config, tokens=101, problem="p_1")
    assert str(error.value) == (
        "problem p_1 takes 101 tokens with its longest completion, more than "
        "optimizer.micro_batch_tokens (100). Make more room, or sample shorter completions "
        "(generate.max_new_tokens)."
    )
