"""Pools and judges with short limits, and what tells whether a worker left something behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reft_megatron.config import RewardConfig
from reft_megatron.rewards import Judge
from reft_megatron.rewards.pool import WorkerPool

SHORT = RewardConfig(workers=2, timeout_s=1.5, memory_mb=256, max_output_kb=4)


@pytest.fixture(scope="module")
def short() -> RewardConfig:
    return SHORT


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool(SHORT)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge(form="program", kind="number", config=SHORT, parity="correct") as judge:
        yield judge


@pytest.fixture(scope="session")
def session_members() -> Callable[[int], list[int]]:
    """The live processes of a session, zombies apart."""

    def members(session: int) -> list[int]:
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, _, sid = stat.read_text().rpartition(")")[2].split()[:4]
            except OSError:
                continue  # it ended while we looked
            if int(sid) == session and state not in "ZX":
                found.append(int(stat.parent.name))
        return found

    return members
