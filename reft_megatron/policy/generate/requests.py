"""What is asked of the engine, in units that replicas take from one queue.

Owns tickets (a prompt with a few of its samples, which share one prefill of the prompt) and the
queue that all data-parallel replicas pull them from, so that none idles while another has a
backlog. What comes of a ticket does not depend on who takes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reft_megatron.mesh import Mesh
from reft_megatron.types import Prompt

__all__ = ["Queue", "Ticket", "tickets_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """Samples of one prompt that are generated together."""

    prompt: int
    """Index of the prompt."""
    samples: tuple[int, ...]
    """Numbers of the samples."""


def tickets_of(prompts: Sequence[Prompt], *, most: int) -> list[Ticket]:
    """All that `prompts` ask for, in order, at most `most` samples a ticket."""
    return [
        Ticket(prompt=index, samples=prompt.samples[start : start + most])
        for index, prompt in enumerate(prompts)
        for start in range(0, len(prompt.samples), most)
    ]


class Queue:
    """The tickets of one call, shared by all replicas; only first stages take from it."""

    def __init__(self, tickets: Sequence[Ticket], mesh: Mesh) -> None:
        self._tickets, self._mesh = tickets, mesh
        self._drained = not tickets
        # One rank of a replica asks; alone on the data axis each can count for itself.
        self._asks = mesh.data.size == 1 or mesh.tensor.first
        self._counter = mesh.data.counter() if self._asks and mesh.pipeline.first else None

    def __getitem__(self, number: int) -> Ticket:
        return self._tickets[number]

    def take(self, count: int) -> list[int]:
        """Numbers of the next tickets, `count` of them while there are as many.

        Every tensor-parallel rank of the first stage calls, and gets the same.
        """
        if not count or self._drained:
            return []
        first = self._counter.take(count) if self._counter is not None else 0
        if self._mesh.data.size > 1:
            first = self._mesh.tensor.broadcast_object(first)
        end = min(first + count, len(self._tickets))
        self._drained = first + count >= len(self._tickets)
        return list(range(min(first, end), end))
