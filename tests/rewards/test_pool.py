"""Scheduling over workers that die, hang and are replaced."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import reft_megatron.rewards.pool as pool_module
from reft_megatron.config import RewardConfig
from reft_megatron.errors import TrainingError
from reft_megatron.rewards.outcome import Outcome
from reft_megatron.rewards.pool import WorkerPool
from reft_megatron.types import Reason

HUNG = "def solution():\n    while True: pass"


def numbers(count: int) -> list[str]:
    return [f"def solution():\n    return {number}" for number in range(count)]


def values(pool: WorkerPool, sources: list[str]) -> list[object]:
    return [outcome.value for outcome in outcomes(pool, sources)]


def outcomes(pool: WorkerPool, sources: list[str]) -> list[Outcome]:
    return pool.run(sources, want="number", split_namespaces=False)


class Killer(threading.Thread):
    """Kills busy workers, one after the other, at most `most` times."""

    def __init__(self, pool: WorkerPool, *, most: int) -> None:
        super().__init__()
        self.pool, self.most = pool, most
        self.stopped = threading.Event()
        self.struck = 0

    def run(self) -> None:
        while self.struck < self.most and not self.stopped.wait(0.15):
            busy = [worker for worker in list(self.pool._workers["plain"]) if worker.jobs]
            if busy:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(busy[self.struck % len(busy)].pid, signal.SIGKILL)
                    self.struck += 1

    def __enter__(self) -> Killer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.join()


def test_order_is_kept(pool: WorkerPool) -> None:
    assert values(pool, numbers(300)) == list(range(300))
    assert outcomes(pool, []) == []


def test_hung_programs_run_side_by_side(pool: WorkerPool) -> None:
    start = time.monotonic()
    found = outcomes(pool, [HUNG, HUNG, *numbers(20)])
    assert [outcome.failure for outcome in found[:2]] == [Reason.TIMEOUT] * 2
    assert [outcome.value for outcome in found[2:]] == list(range(20))
    assert time.monotonic() - start < 2 * 1.5  # both limits of 1.5 s at once


def test_long_and_overlong_programs(pool: WorkerPool) -> None:
    long = "def solution():\n    return 5  # " + "x" * 500_000
    overlong = "def solution():\n    return 5  # " + "x" * 1_100_000
    found = outcomes(pool, [long, overlong, long, *numbers(5)])
    assert [outcome.value for outcome in found] == [5.0, None, 5.0, 0, 1, 2, 3, 4]
    assert found[1].failure is Reason.MEMORY
    assert found[1].detail.endswith("bytes")


def test_killed_workers_lose_and_reorder_nothing(short: RewardConfig) -> None:
    pool = WorkerPool(short)
    pause = "def solution():\n    for _ in range(100_000): pass\n    return {}"
    sources = [pause.format(number) for number in range(150)]
    with Killer(pool, most=6) as killer:
        found = outcomes(pool, sources)
    pool.close()
    assert killer.struck > 0
    assert pool.respawns > 0
    faults = [outcome for outcome in found if outcome.failure is Reason.EXECUTOR_FAULT]
    assert len(faults) == pool.faults  # only a program hit twice may be given up
    right = [outcome.value in (None, number) for number, outcome in enumerate(found)]
    assert all(right)
    assert sum(outcome.value is not None for outcome in found) == len(sources) - len(faults)


def test_a_program_whose_worker_dies_twice_is_a_fault() -> None:
    pool = WorkerPool(RewardConfig(workers=1, timeout_s=30.0))
    with Killer(pool, most=100) as killer:
        [found] = outcomes(pool, [HUNG])
    assert found == Outcome(failure=Reason.EXECUTOR_FAULT, detail="the worker died")
    assert killer.struck >= 2  # a worker may be struck again before the pool notices
    assert (pool.respawns, pool.faults) == (2, 1)
    assert values(pool, numbers(3)) == [0, 1, 2]
    pool.close()


def test_a_worker_that_does_not_answer_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_GRACE_S", 0.3)
    pool = WorkerPool(RewardConfig(workers=1, timeout_s=0.2))
    [worker] = pool._workers["plain"]
    os.kill(worker.pid, signal.SIGSTOP)
    assert values(pool, numbers(4)) == [0, 1, 2, 3]
    assert pool.respawns == 1
    pool.close()


def test_workers_are_recycled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_JOBS_PER_WORKER", 5)
    pool = WorkerPool(RewardConfig(workers=1))
    [first] = pool._workers["plain"]
    assert values(pool, numbers(12)) == list(range(12))
    [last] = pool._workers["plain"]
    assert last.pid != first.pid
    assert pool.respawns == 0  # nothing went wrong
    pool.close()


def test_closing_ends_every_process(
    short: RewardConfig, session_members: Callable[[int], list[int]]
) -> None:
    pool = WorkerPool(short)
    values(pool, numbers(20))
    sessions = [worker.pid for worker in pool._workers["plain"]]
    assert all(session_members(session) for session in sessions)
    pool.close()
    pool.close()
    deadline = time.monotonic() + 5
    while any(session_members(session) for session in sessions):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert values(pool, numbers(2)) == [0, 1]  # a closed pool starts afresh
    pool.close()


def test_an_interrupted_call_leaves_nothing_for_the_next(short: RewardConfig) -> None:
    pool = WorkerPool(short)
    watch = threading.Timer(0.4, signal.raise_signal, [signal.SIGINT])
    watch.start()
    with pytest.raises(KeyboardInterrupt):
        outcomes(pool, [HUNG] * 4)
    watch.join()
    assert values(pool, numbers(10)) == list(range(10))
    pool.close()


def test_workers_that_never_start_stop_the_run() -> None:
    pool = WorkerPool(RewardConfig(workers=1))
    pool.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.executable", "/bin/false")
        with pytest.raises(TrainingError) as error:
            outcomes(pool, numbers(1))
    assert str(error.value) == (
        "1 of 1 workers that check programs did not start in 3 attempts; "
        "see that this machine has processes, memory and descriptors to spare."
    )


def test_a_machine_without_descriptors_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four workers, two start: they are ended, and the error is the one that says why."""
    real, started = pool_module.WorkerProcess, []

    def scarce(**settings: Any) -> object:
        if len(started) == 2:
            raise OSError(24, "Too many open files")
        started.append(real(**settings))
        return started[-1]

    monkeypatch.setattr(pool_module, "WorkerProcess", scarce)
    with pytest.raises(TrainingError, match="2 of 4 workers that check programs did not start"):
        WorkerPool(RewardConfig(workers=4))
    for worker in started:
        with pytest.raises(ProcessLookupError):
            os.kill(worker.pid, 0)


def test_isolation_is_described(pool: WorkerPool) -> None:
    assert set(pool.isolation) == {"audit_hook", "parent_death_signal", "rlimits", "seccomp"}
    assert all(state == "on" or state.startswith("off: ") for state in pool.isolation.values())


def test_libraries_if_they_are_there(pool: WorkerPool) -> None:
    pytest.importorskip("sympy")
    solve = """def solution():
    from sympy import Symbol, solve
    x = Symbol("x")
    return solve(2 * x - 10, x)[0]"""
    numpy = "def solution():\n    import numpy as np\n    return np.mean([1, 2])"
    found = outcomes(pool, [solve, *numbers(2), numpy])
    assert [outcome.value for outcome in found] == [5.0, 0.0, 1.0, 1.5]
    save = "def solution():\n    import numpy\n    numpy.save('/tmp/saved', [1])"
    load = "def solution():\n    import numpy\n    return len(numpy.fromfile('/etc/passwd'))"
    assert [outcome.detail for outcome in outcomes(pool, [save, load])] == ["PermissionError"] * 2
