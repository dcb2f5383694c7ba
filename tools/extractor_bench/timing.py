"""Seconds of calls that take turns.

Owns the clocks and the order. The contenders of a round run one after the other, so that what slows
the machine down for a while slows all of them down.
"""

from __future__ import annotations

import gc
import resource
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

__all__ = ["Spread", "Timed", "interleave", "measure"]


class Timed(NamedTuple):
    """Seconds of one call."""

    cpu: float
    """Of processor time: all threads of this process, and its children that have ended."""
    wall: float
    """On the clock."""


class Spread(NamedTuple):
    """A figure over its rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Median, least and largest of at least one value."""
        found = list(values)
        return cls(statistics.median(found), min(found), max(found))


def measure(call: Callable[[], object]) -> Timed:
    """Time one call."""
    cpu, wall = _cpu(), time.perf_counter()
    call()
    return Timed(_cpu() - cpu, time.perf_counter() - wall)


def interleave(
    calls: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: bool = True
) -> dict[str, list[Timed]]:
    """Times of each call in each of `rounds` rounds, after one that does not count."""
    if warm_up:
        for call in calls.values():
            call()
    times: dict[str, list[Timed]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            gc.collect()
            times[name].append(measure(call))
    return times


def _cpu() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
