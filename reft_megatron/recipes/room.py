"""How long a sequence may be.

Owns the limit that all recipes check before long work starts: the model's positions and, for what
is trained on, the token budget of a micro-batch.
"""

from __future__ import annotations

from dataclasses import dataclass

from reft_megatron.config import Config
from reft_megatron.policy.families import Architecture

__all__ = ["Room", "room_of"]


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
