"""The order in which problems are visited: a pure function of seed and position.

Owns shuffling. Nothing is carried from step to step, so a resumed run needs no saved position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

__all__ = ["epoch_order", "take"]

T = TypeVar("T")


def epoch_order(count: int, *, seed: int, epoch: int) -> list[int]:
    """The permutation of range(count) of one epoch."""
    order: list[int] = np.random.default_rng([seed, epoch]).permutation(count).tolist()
    return order


def take(items: Sequence[T], *, start: int, count: int, seed: int) -> list[T]:
    """Items start .. start + count - 1 of the endless stream of shuffled epochs."""
    taken: list[T] = []
    while len(taken) < count:
        epoch, offset = divmod(start + len(taken), len(items))
        order = epoch_order(len(items), seed=seed, epoch=epoch)
        taken += [items[i] for i in order[offset : offset + count - len(taken)]]
    return taken
