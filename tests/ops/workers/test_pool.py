"""Scheduling over workers that die, hang and are replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import reft_megatron.ops.workers.pool as pool_module
from reft_megatron.errors import TrainingError
from reft_megatron.ops.status import EXCEPTIONS, Status
from reft_megatron.ops.workers import Reply, WorkerPool

HUNG = "def solution():\n    while True: pass"
STATES = """user_namespace network_namespace ipc_namespace pid_namespace parent_death rlimits
audit_hook no_new_privileges landlock seccomp"""

Gone = Callable[[list[int]], None]


def numbers(count: int) -> list[str]:
    return [f"def solution():\n    return {number}" for number in range(count)]


def values(pool: WorkerPool, sources: list[str]) -> list[float]:
    return [reply.value for reply in pool.run(sources)]


def sessions(pool: WorkerPool) -> list[int]:
    return [worker.pid for worker in pool._all()]


def test_order_is_kept(pool: WorkerPool) -> None:
    assert values(pool, numbers(300)) == list(range(300))
    assert pool.run([]) == []
    assert values(pool, ["def solution():\n    return 7"]) == [7.0]


def test_a_pool_that_ran_nothing_has_no_process() -> None:
    with WorkerPool() as pool:
        assert pool.run([]) == []
        assert sessions(pool) == []
        assert pool.stats() == {"programs": 0, "respawns": 0, "faults": 0, "isolation": {}}


def test_hung_programs_hold_nobody_up(pool: WorkerPool) -> None:
    found = pool.run([HUNG, HUNG, *numbers(20)])
    assert [reply.status for reply in found[:2]] == [Status.TIME_LIMIT] * 2
    assert [reply.value for reply in found[2:]] == list(range(20))


def test_long_overlong_and_ill_formed_programs(pool: WorkerPool) -> None:
    long = "def solution():\n    return 5  # " + "x" * 500_000
    overlong = "def solution():\n    return 5  # " + "x" * 1_100_000
    surrogate = "def solution():\n    return '\ud800'"
    found = pool.run([long, overlong, long, surrogate, *numbers(5)])
    assert [reply.value for reply in found if reply.status is Status.OK] == [5, 5, 0, 1, 2, 3, 4]
    assert found[1].status is Status.INPUT_LIMIT
    assert found[3].status is Status.SYNTAX_ERROR
    assert EXCEPTIONS[found[3].exc - 1] == found[3].detail == "UnicodeEncodeError"


def test_what_is_asked_for_travels(pool: WorkerPool) -> None:
    [text] = pool.run(["def solution():\n    return 'C'"], want_text=True)
    assert (text.status, text.text, text.detail) == (Status.OK, "C", "str")
    apart = "rate = 3\ndef solution():\n    return rate"
    [reply] = pool.run([apart], split_namespaces=True)
    assert (reply.status, reply.detail) == (Status.RUNTIME_ERROR, "NameError")
    assert pool.run(["answer = 6"], entry="answer")[0].value == 6
    assert pool.run(["print(3)\nprint()"], entry="stdout")[0].value == 3
    assert pool.run(["x = 4\nx * 2"], entry="last_expr")[0].value == 8
    with pytest.raises(ValueError, match=r"entry is one of solution, ans, .*, saw main"):
        pool.run([], entry="main")


def test_threads_take_turns(pool: WorkerPool) -> None:
    found: dict[int, list[float]] = {}

    def use(start: int) -> None:
        found[start] = values(pool, [f"def solution():\n    return {start + n}" for n in range(60)])

    threads = [threading.Thread(target=use, args=(start,)) for start in (0, 1000, 2000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {start: [start + n for n in range(60)] for start in (0, 1000, 2000)}
    before = sessions(pool)
    assert values(pool, numbers(3)) == [0, 1, 2]
    assert sessions(pool) == before  # no worker ended with the thread that started it


def test_the_deadline_of_a_call(pool: WorkerPool) -> None:
    found = pool.run([*numbers(3), HUNG, HUNG, HUNG, HUNG], deadline_s=1.0)
    assert [reply.value for reply in found[:3]] == [0, 1, 2]
    assert [reply.status for reply in found[3:]] == [Status.CANCELLED] * 4
    assert values(pool, numbers(3)) == [0, 1, 2]


class Killer(threading.Thread):
    """Kills processes of the workers, chosen by turns, until it is stopped."""

    def __init__(self, pool: WorkerPool, choose: Callable[[list[int]], list[int]]) -> None:
        super().__init__()
        self.pool, self.choose = pool, choose
        self.stopped = threading.Event()
        self.struck = 0

    def run(self) -> None:
        while not self.stopped.wait(0.1):
            victims = [pid for worker in self.pool._all() for pid in self.choose_of(worker)]
            if victims:
                try:
                    os.kill(victims[self.struck % len(victims)], signal.SIGKILL)
                except ProcessLookupError:
                    continue
                self.struck += 1

    def choose_of(self, worker: Any) -> list[int]:
        return self.choose(children(worker.pid)) if worker.jobs else []

    def __enter__(self) -> Killer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.join()


def children(session: int) -> list[int]:
    """Boot, zygote and runner, as far as they are there."""
    line = [session]
    try:
        while below := Path(f"/proc/{line[-1]}/task/{line[-1]}/children").read_text().split():
            line.append(int(below[0]))
    except OSError:
        pass
    return line


@pytest.mark.parametrize(
    "choose",
    [lambda line: line, lambda line: line[2:]],
    ids=["any", "runners"],
)
def test_kill_9_loses_duplicates_and_reorders_nothing(
    choose: Callable[[list[int]], list[int]], all_gone: Gone
) -> None:
    pool = WorkerPool(workers=2)
    work = "def solution():\n    for _ in range(40_000): pass\n    return {}"
    seen: set[int] = set()
    done = 0
    with Killer(pool, choose) as killer:
        while done < 400 or killer.struck < 4:
            numbers = range(done, done + 100)
            found = pool.run([work.format(number) for number in numbers])
            lost = [reply.status is Status.WORKER_LOST for reply in found]
            right = [
                a or reply.value == n for a, reply, n in zip(lost, found, numbers, strict=True)
            ]
            assert all(right)
            assert sum(lost) <= 2  # only a program struck twice is given up, and said to be
            seen |= set(sessions(pool))
            done += 100
    assert pool.stats()["programs"] == done
    pool.close()
    all_gone(list(seen))


def test_a_program_whose_worker_dies_twice_is_a_fault() -> None:
    pool = WorkerPool(workers=1, wall_s=60.0)
    with Killer(pool, lambda line: line[:1]):
        [found] = pool.run([HUNG])
    assert found.status is Status.WORKER_LOST
    assert found.detail.startswith("the worker ")
    assert (pool.stats()["respawns"], pool.stats()["faults"]) == (2, 1)
    assert values(pool, numbers(3)) == [0, 1, 2]
    pool.close()


def test_a_worker_that_does_not_answer_is_replaced() -> None:
    pool = WorkerPool(workers=1, wall_s=0.3)
    assert values(pool, numbers(1)) == [0]
    [worker] = pool._all()
    os.kill(children(worker.pid)[1], signal.SIGSTOP)
    assert values(pool, numbers(4)) == [0, 1, 2, 3]
    assert pool.stats()["respawns"] == 1
    pool.close()


def test_workers_are_recycled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_JOBS_PER_WORKER", 5)
    pool = WorkerPool(workers=1)
    assert values(pool, numbers(3)) == [0, 1, 2]
    first = sessions(pool)
    assert values(pool, numbers(9)) == list(range(9))
    assert sessions(pool) != first
    assert pool.stats()["respawns"] == 0  # nothing went wrong
    pool.close()


def test_closing_ends_every_process(all_gone: Gone) -> None:
    pool = WorkerPool(workers=2)
    values(pool, numbers(20))
    started = sessions(pool)
    pool.close()
    pool.close()
    all_gone(started)
    assert values(pool, numbers(2)) == [0, 1]  # a closed pool starts afresh
    pool.close()


def test_an_interrupted_call_leaves_nothing_for_the_next(pool: WorkerPool) -> None:
    # A job in the background is started with Ctrl-C switched off.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    watch = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    watch.start()
    with pytest.raises(KeyboardInterrupt):
        pool.run([HUNG] * 8)
    watch.join()
    signal.signal(signal.SIGINT, before)
    assert values(pool, numbers(10)) == list(range(10))


def test_a_forked_child_has_workers_of_its_own(pool: WorkerPool) -> None:
    assert values(pool, numbers(2)) == [0, 1]
    before = sessions(pool)
    child = os.fork()
    if child == 0:
        try:
            pool._lock.acquire()  # as if another thread had held it at the fork
            right = values(pool, numbers(2)) == [0, 1] and not set(sessions(pool)) & set(before)
            pool.close()
            os._exit(0 if right else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert values(pool, numbers(2)) == [0, 1]
    assert sessions(pool) == before


def test_workers_that_never_start_stop_the_run() -> None:
    for python, why in (("/bin/false", "they end"), ("/no/such", "No such file")):
        with pytest.raises(TrainingError, match=f"did not start in 10 attempts: .*{why}"):
            WorkerPool(workers=2, python=python).run(numbers(1))


def test_workers_that_did_start_are_of_use(monkeypatch: pytest.MonkeyPatch) -> None:
    real, started = pool_module.WorkerProcess, []

    def scarce(**settings: Any) -> object:
        if len(started) == 2:
            raise OSError(24, "Too many open files")
        started.append(real(**settings))
        return started[-1]

    monkeypatch.setattr(pool_module, "WorkerProcess", scarce)
    with WorkerPool(workers=4) as pool:
        assert values(pool, numbers(30)) == list(range(30))
        assert len(pool._all()) == 2


@pytest.mark.parametrize("body", [b"", Reply(status=Status.OK).pack(999)])
def test_a_worker_that_speaks_nonsense_is_replaced(
    monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    real, bad = pool_module.WorkerProcess.receive, [body]

    def receive(worker: Any) -> list[bytes]:
        bodies = real(worker)
        return [bad.pop()] if worker.ready and bad else bodies

    monkeypatch.setattr(pool_module.WorkerProcess, "receive", receive)
    with WorkerPool(workers=2) as pool:
        assert values(pool, numbers(9)) == list(range(9))
        assert pool.stats()["respawns"] == 1


def test_isolation_is_described(pool: WorkerPool) -> None:
    values(pool, numbers(1))
    isolation = pool.stats()["isolation"]
    assert isinstance(isolation, dict)
    assert set(isolation) == set(STATES.split())
    assert all(state == "on" or state.startswith("off: ") for state in isolation.values())


def test_libraries_if_they_are_there(pool: WorkerPool) -> None:
    pytest.importorskip("sympy")
    solve = """def solution():
    from sympy import Symbol, solve
    x = Symbol("x")
    return solve(2 * x - 10, x)[0]"""
    chance = """def solution():
    import numpy, random, sympy
    return numpy.random.rand() + random.random() + numpy.random.default_rng().random()"""
    mean = "def solution():\n    import numpy as np\n    return np.mean([1, 2])"
    found = pool.run([solve, *numbers(2), mean, chance, chance])
    assert [reply.value for reply in found[:4]] == [5.0, 0.0, 1.0, 1.5]
    assert found[4].status is Status.OK
    assert found[4] == found[5]
    save = "def solution():\n    import numpy\n    numpy.save('/tmp/saved', [1])"
    load = "def solution():\n    import numpy\n    return len(numpy.fromfile('/etc/passwd'))"
    assert [reply.status for reply in pool.run([save, load])] == [Status.DENIED] * 2


LIVE_ON = """
import os, sys
from reft_megatron.ops.workers import WorkerPool
pool = WorkerPool(workers=2, wall_s=300.0)
pool.run(["def solution():\\n    return 1"] * 20)
print(*[worker.pid for worker in pool._all()], flush=True)
child = os.fork()  # as a data loader's worker, it holds copies of the sockets and lives on
if child == 0:
    sys.stdin.read()
    os._exit(0)
print("running", flush=True)
pool.run(["def solution():\\n    while True: pass"] * 2)
"""


def test_nothing_outlives_a_trainer_killed_with_9(
    session_members: Callable[[int], list[int]], all_gone: Gone
) -> None:
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", LIVE_ON],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as trainer:
        assert trainer.stdout is not None
        started = [int(pid) for pid in trainer.stdout.readline().split()]
        assert len(started) == 2
        assert trainer.stdout.readline() == "running\n"
        while not all(len(session_members(session)) == 3 for session in started):
            time.sleep(0.01)
        time.sleep(0.2)  # into the hung programs
        trainer.kill()
        trainer.wait()
        all_gone(started)
        trainer.communicate()
