"""Which problem is in which split.

Owns the one fixed order of a training file. The dev split is its front and the training split is
filled from its back, so that neither moves when the size of the other changes. The test split is a
file of its own and is never touched here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from reft_megatron.types import Problem

__all__ = ["carve_dev", "place", "shuffled"]


def place(problem_id: str) -> bytes:
    """What problems are sorted by: the SHA-256 of their ids."""
    return hashlib.sha256(problem_id.encode()).digest()


def shuffled(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """`problems` in the order of their `place`: fixed, whatever the file's order."""
    return tuple(sorted(problems, key=lambda problem: place(problem.id)))


def carve_dev(
    problems: Sequence[Problem], dev_size: int
) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Training and dev problems: disjoint in ids and in questions, each in a fixed shuffle.

    A few questions of SVAMP stand in the file twice; a twin of a dev problem is dropped from train.
    """
    order = shuffled(problems)
    dev = order[:dev_size]
    held_out = {problem.question for problem in dev}
    train = (problem for problem in reversed(order[dev_size:]) if problem.question not in held_out)
    return tuple(train), dev
