"""Pools with short limits, and what tells whether a worker left something behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reft_megatron.ops.workers import WorkerPool

MIB = 1 << 20


@pytest.fixture(scope="session")
def pool() -> Iterator[WorkerPool]:
    """Two workers for tests that break nothing."""
    with WorkerPool(workers=2, wall_s=1.5, memory_bytes=256 * MIB, output_bytes=4096) as pool:
        yield pool


def members(session: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, _, _, sid = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue  # it ended while we looked
        if int(sid) == session:
            found.append(int(stat.parent.name))
    return found


@pytest.fixture(scope="session")
def session_members() -> Callable[[int], list[int]]:
    """The processes of a session, zombies included."""
    return members


@pytest.fixture(scope="session")
def all_gone() -> Callable[[list[int]], None]:
    """Waits until no process of these sessions is left."""

    def wait(sessions: list[int]) -> None:
        assert sessions
        deadline = time.monotonic() + 20
        while left := [pid for session in sessions for pid in members(session)]:
            assert time.monotonic() < deadline, f"processes {left} are left"
            time.sleep(0.01)

    return wait
