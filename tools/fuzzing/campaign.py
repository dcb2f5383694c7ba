"""Many programs, in batches, on several processes.

Owns what a batch is, who runs it, and the sums over all of them. A batch is decided by its kind,
seed and numbers alone, so any of them can be run again. A process that dies takes the extractor's
crash with it: its batch is run again, program by program, to find the one that did it.
"""

from __future__ import annotations

import multiprocessing
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from reft_megatron.ops.status import Status
from tools.fuzzing import grammar, mutation
from tools.fuzzing.comparison import Bench, Pair
from tools.fuzzing.oracle import Oracle

__all__ = ["BATCH", "KINDS", "Batch", "Setting", "Tally", "batches", "compare_batch", "run"]

BATCH = 200
"""Programs of a batch."""
KINDS = ("grammar", "mutate", "truncate", "rename")
"""What programs are: made by the grammar; real ones spoilt, or cut short at every character, or
with other names for their variables.
"""

_KEPT = 200  # differences of one batch; more say nothing new


class Batch(NamedTuple):
    """Programs that seed, kind and number decide."""

    kind: str
    """One of `KINDS`."""
    seed: int
    """Decides them."""
    first: int
    """Number of its first program, of that kind and seed."""
    size: int = BATCH
    """How many programs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all batches share."""

    python: str = sys.executable
    """The CPython 3.11 that is the oracle."""
    data: Path | None = None
    """Folder with real programs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What became of programs; adds up."""

    statuses: Counter[str] = field(default_factory=Counter)
    """The extractor's statuses, and how each is explained: `OK same`."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Limits, and what is denied or unsupported: `UNSUPPORTED class`."""
    differences: list[Pair] = field(default_factory=list)
    """What nothing explains."""
    crashed: list[str] = field(default_factory=list)
    """Programs that killed the process of the extractor."""

    @property
    def programs(self) -> int:
        """How many there were."""
        return self.statuses.total() + len(self.crashed)

    def add(self, other: Tally) -> None:
        """Add the other's counts to these."""
        self.statuses.update(other.statuses)
        self.reasons.update(other.reasons)
        self.differences.extend(other.differences)
        self.crashed.extend(other.crashed)


Work = Callable[[Setting, Batch], Tally]


def batches(kinds: Sequence[str], seed: int, programs: int) -> Iterator[Batch]:
    """Batches of all kinds in turn, with as many programs in all."""
    for number in range(-(-programs // BATCH)):
        turn, kind = divmod(number, len(kinds))
        size = min(BATCH, programs - number * BATCH)
        yield Batch(kinds[kind], seed, turn * BATCH, size)


def run_batch(setting: Setting, batch: Batch) -> Tally:
    """The tally of a batch, in this process."""
    return compare_batch(_bench(setting.python), batch, _seeds(setting.data))


def run(
    todo: Sequence[Batch], setting: Setting, *, jobs: int, work: Work = run_batch
) -> Iterator[Tally]:
    """The tally of each batch, as they come."""
    left = list(reversed(todo))
    while left:
        running: dict[Future[Tally], Batch] = {}
        try:
            with _pool(jobs) as pool:
                yield from _tallies(_into(pool, work, setting), left, running, ahead=2 * jobs)
        except BrokenProcessPool:
            for batch in running.values():
                yield from _one_by_one(batch, setting, work)


def _into(
    pool: ProcessPoolExecutor, work: Work, setting: Setting
) -> Callable[[Batch], Future[Tally]]:
    return lambda batch: pool.submit(work, setting, batch)


def _tallies(
    submit: Callable[[Batch], Future[Tally]],
    left: list[Batch],
    running: dict[Future[Tally], Batch],
    *,
    ahead: int,
) -> Iterator[Tally]:
    """Take from `left` until nothing is; `running` holds what has not been told of."""
    while left or running:
        while left and len(running) < ahead:
            future = submit(left[-1])
            running[future] = left.pop()
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield future.result()
            del running[future]


def _one_by_one(batch: Batch, setting: Setting, work: Work) -> Iterator[Tally]:
    """The tallies of a batch that some program of it may not let end."""
    for number in range(batch.first, batch.first + batch.size):
        single = batch._replace(first=number, size=1)
        try:
            with _pool(1) as pool:
                tally = pool.submit(work, setting, single).result()
        except BrokenProcessPool:
            tally = Tally(crashed=programs(single, _seeds(setting.data)))
        yield tally


def compare_batch(bench: Bench, batch: Batch, seeds: Sequence[str]) -> Tally:
    """The tally of a batch on a bench."""
    tally = Tally()
    texts = programs(batch, seeds)
    pairs = bench.compare(texts)
    if batch.kind == "rename":
        pairs += _changed_by_a_name(bench, batch, seeds)
    for pair in pairs:
        explained = pair.explained
        tally.statuses[f"{pair.found.status.name} {explained or 'DIFFERENT'}"] += 1
        if explained in ("limit", "denied", "unsupported"):
            tally.reasons[f"{pair.found.status.name} {pair.found.why}"] += 1
        elif not explained and len(tally.differences) < _KEPT:
            tally.differences.append(pair)
    return tally


def programs(batch: Batch, seeds: Sequence[str]) -> list[str]:
    """The texts of a batch."""
    numbers = range(batch.first, batch.first + batch.size)
    if batch.kind == "grammar":
        return [grammar.program(batch.seed, number) for number in numbers]
    if batch.kind == "mutate":
        return [mutation.mutant(seeds, batch.seed, number) for number in numbers]
    if batch.kind == "truncate":
        # Neighbours are much alike: take them from all over.
        return [mutation.truncation(seeds, number * 7919 + batch.seed) for number in numbers]
    return [mutation.renamed(text, chance) for text, chance in _originals(batch, seeds)]


def _originals(batch: Batch, seeds: Sequence[str]) -> Iterator[tuple[str, random.Random]]:
    for number in range(batch.first, batch.first + batch.size):
        chance = random.Random(batch.seed << 40 | number)
        yield chance.choice(seeds), chance


def _changed_by_a_name(bench: Bench, batch: Batch, seeds: Sequence[str]) -> list[Pair]:
    """Programs that the extractor answers otherwise when their variables are renamed."""
    originals = [text for text, _ in _originals(batch, seeds)]
    before, after = bench.found(originals), bench.found(programs(batch, seeds))
    changed = [
        text
        for text, old, new in zip(originals, before, after, strict=True)
        if (old.status, old.value) != (new.status, new.value)
    ]
    return [pair for pair in bench.compare(changed) if pair.found.status is not Status.UNSUPPORTED]


def _pool(jobs: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))


@cache
def _bench(python: str) -> Bench:
    return Bench(Oracle(python))


@cache
def _seeds(data: Path | None) -> list[str]:
    return mutation.seeds_in(data)
