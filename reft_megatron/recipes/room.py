"""How long a sequence may be.

Owns the limit that all recipes check before long work starts: the model's positions and, for what
is trained on or scored, the token budget of a micro-batch.
"""

from __future__ import annotations

from dataclasses import dataclass

from reft_megatron.config import Config
from reft_megatron.errors import DataError
from reft_megatron.policy.families import Architecture
from reft_megatron.rollouts.training_set import TrainingSet

__all__ = ["Room", "check_length", "check_room", "room_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The longest sequence there is room for."""

    tokens: int
    """Its length, prompt and response together."""
    limit: str
    """What limits it, as an error names it."""


def room_of(architecture: Architecture, config: Config, *, trained: bool) -> Room:
    """The room for sequences that are only generated, or also `trained` on."""
    limits = {f"the positions of {architecture.name}": architecture.positions}
    if trained:
        limits["optimizer.micro_batch_tokens"] = config.optimizer.micro_batch_tokens
    limit, tokens = min(limits.items(), key=lambda item: item[1])
    return Room(tokens=tokens, limit=f"{limit} ({tokens})")


def check_room(architecture: Architecture, config: Config, chosen: TrainingSet) -> None:
    """`check_length` of the longest sequence."""
    if len(chosen):
        longest = int(chosen.lengths.argmax())
        check_length(
            architecture,
            config,
            tokens=int(chosen.lengths[longest]),
            problem=chosen.problem_id(longest),
        )


def check_length(architecture: Architecture, config: Config, *, tokens: int, problem: str) -> None:
    """DataError unless the model and a micro-batch can take a rollout of so many tokens."""
    room = room_of(architecture, config, trained=True)
    if tokens > room.tokens:
        raise DataError(
            f"problem {problem} takes {tokens} tokens with its longest completion, more than "
            f"{room.limit}. Make more room, or sample shorter completions "
            "(generate.max_new_tokens)."
        )
