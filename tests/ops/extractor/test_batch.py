"""Many rows at once: duplicates, order, threads, deadlines, forks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from reft_megatron.ops.extractor import Extractor, Limits, Route, Status

LOOP = "def solution():\n    while True:\n        pass\n"
HOURS = Limits(max_steps=2**31 - 1)


def program(value: object) -> str:
    return f"def solution():\n    x = {value}\n    return x\n"


def numbered(count: int) -> list[str]:
    return [program(i) for i in range(count)]


@pytest.fixture(params=[1, 3], ids=lambda threads: f"{threads} threads")
def extractor(request: pytest.FixtureRequest) -> Iterator[Extractor]:
    with Extractor(threads=request.param, fallback="none") as made:
        yield made


@pytest.fixture
def patient() -> Iterator[Extractor]:
    """Lets a program run for a minute: only a deadline or a cancel ends it."""
    with Extractor(threads=2, fallback="none", limits=HOURS) as made:
        yield made


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000, 20_000])
def test_outcomes_stand_where_their_rows_stood(extractor: Extractor, count: int):
    results = extractor.run(numbered(count))
    assert results.value.tolist() == list(range(count))
    assert not results.status.any()


def test_rows_of_all_lengths_keep_their_place(extractor: Extractor):
    rows = [
        f"def solution():\n    return {i}\n{'# comment' * (i * 7919 % 400)}\n" for i in range(3000)
    ]
    assert extractor.run(rows).value.tolist() == list(range(3000))


def test_equal_rows_run_once(extractor: Extractor):
    rows = [program(1), program(2), program(1), program(1).encode(), program(2)]
    results = extractor.run(rows)
    assert results.value.tolist() == [1, 2, 1, 1, 2]
    assert results.route.tolist() == [Route.FAST, Route.FAST] + [Route.DUPLICATE] * 3
    assert extractor.stats()["duplicates"] == 3


def test_ten_thousand_equal_loops_cost_one(extractor: Extractor):
    results = extractor.run([LOOP] * 10_000)
    assert set(results.status.tolist()) == {Status.STEP_LIMIT}
    assert np.count_nonzero(results.route == Route.FAST) == 1


def test_without_dedup_each_row_is_run():
    with Extractor(dedup=False, fallback="none") as extractor:
        assert not extractor.run([program(1)] * 100).route.any()


def test_threads_and_order_change_nothing():
    rows = [program(f"sum(range({i}))") for i in range(2000)]
    with (
        Extractor(threads=1, fallback="none") as one,
        Extractor(threads=4, fallback="none") as four,
    ):
        a, b, c = one.run(rows), four.run(rows), four.run(rows[::-1])
    for name in ("value", "status", "steps"):
        column = getattr(a, name)
        assert (column == getattr(b, name)).all()
        assert (column == getattr(c, name)[::-1]).all()


def test_small_batches_wake_no_thread():
    with Extractor(threads=4, fallback="none") as extractor:
        extractor.run(numbered(63))
        assert extractor.stats()["threads"] == 0
        extractor.run(numbered(2000))
        assert extractor.stats()["threads"] == 4
        extractor.close()
        assert extractor.stats()["threads"] == 0
        assert extractor.run(numbered(200)).value[-1] == 199


def test_lone_surrogates_are_a_syntax_error(extractor: Extractor):
    results = extractor.run([program(1), "x = '\ud800'", b"x = '\xff'", program(2)])
    wanted = [Status.OK, Status.SYNTAX_ERROR, Status.SYNTAX_ERROR, Status.OK]
    assert results.status.tolist() == wanted
    assert "surrogates" in results.why(1)


def test_rows_that_are_no_text(extractor: Extractor):
    rows = [None, 3, program(1), ["nested"], bytearray(b"x")]
    internal = Status.INTERNAL
    assert extractor.run(rows).status.tolist() == [internal, internal, 0, internal, internal]
    with pytest.raises(TypeError, match=r"row 0 must be str or bytes, saw NoneType"):
        extractor.run(rows, strict=True)


def test_a_deadline_ends_the_batch(patient: Extractor):
    rows = [LOOP + "#" * i for i in range(200)]
    start = time.monotonic()
    results = patient.run([*rows, *numbered(200)], deadline_s=0.3)
    assert time.monotonic() - start < 5
    assert (results.status[:200] == Status.CANCELLED).all()
    assert set(results.status[200:].tolist()) <= {Status.OK, Status.CANCELLED}
    assert np.isnan(results.value[0])


def test_a_deadline_ends_a_small_batch(patient: Extractor):
    start = time.monotonic()
    assert patient.run([LOOP], deadline_s=0.1).status.tolist() == [Status.CANCELLED]
    assert time.monotonic() - start < 5


def test_a_deadline_that_has_passed_runs_nothing(extractor: Extractor):
    assert set(extractor.run(numbered(100), deadline_s=0).status.tolist()) == {Status.CANCELLED}


def test_python_goes_on_meanwhile(patient: Extractor):
    ticks = 0
    worker = threading.Thread(target=lambda: patient.run([LOOP], deadline_s=0.5))
    worker.start()
    while worker.is_alive():
        ticks += 1
        time.sleep(0.001)
    assert ticks > 50


def test_threads_share_an_extractor(extractor: Extractor):
    failures: list[object] = []

    def play(seed: int) -> None:
        for turn in range(30):
            first = seed * 1000 + turn
            rows = [program(first + i) for i in range(1 + (turn * 37 + seed) % 150)]
            if extractor.run(rows).value.tolist() != list(range(first, first + len(rows))):
                failures.append((seed, turn))

    players = [threading.Thread(target=play, args=(seed,)) for seed in range(8)]
    for player in players:
        player.start()
    for player in players:
        player.join()
    assert not failures


def test_close_may_come_from_another_thread(extractor: Extractor):
    stop = threading.Event()

    def close_often() -> None:
        while not stop.is_set():
            extractor.close()

    closer = threading.Thread(target=close_often)
    closer.start()
    try:
        for _ in range(50):
            assert extractor.run(numbered(300)).value[-1] == 299
    finally:
        stop.set()
        closer.join()


def test_small_stacks_are_not_used():
    before = threading.stack_size(256 << 10)
    try:
        found: list[float] = []
        deep = (
            "def solution():\n    f = lambda n: 0 if n == 0 else 1 + f(n - 1)\n    return f(900)\n"
        )
        with Extractor(threads=1, fallback="none") as extractor:
            thread = threading.Thread(target=lambda: found.extend(extractor.run([deep]).value))
            thread.start()
            thread.join()
    finally:
        threading.stack_size(before)
    assert found == [900]


def in_child(play: Callable[[], bool]) -> int:
    """Exit code of a forked child: 0 if `play` is true there."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            code = 0 if play() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own(extractor: Extractor):
    rows = numbered(2000)
    extractor.run(rows)
    assert in_child(lambda: extractor.run(rows).value.tolist() == list(range(2000))) == 0
    assert extractor.run(rows).value[-1] == 1999


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_ends_what_was_under_way(extractor: Extractor):
    rows = [LOOP, *numbered(2000)]
    handle = extractor.submit(rows)
    assert in_child(lambda: handle.result().value[1:].tolist() == list(range(2000))) == 0
    assert handle.result().status[0] == Status.STEP_LIMIT


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_forks_while_threads_run(extractor: Extractor):
    stop = threading.Event()

    def run_often() -> None:
        while not stop.is_set():
            extractor.run(numbered(300))
            extractor.close()

    runner = threading.Thread(target=run_often)
    runner.start()
    try:
        codes = {in_child(lambda: extractor.run(numbered(200)).value[-1] == 199) for _ in range(20)}
    finally:
        stop.set()
        runner.join()
    assert codes == {0}


def test_a_signal_is_seen_while_a_batch_runs(patient: Extractor):
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            patient.run([LOOP])
        assert time.monotonic() - start < 5
    finally:
        signal.signal(signal.SIGALRM, before)
    assert patient.run([program(3)]).value.tolist() == [3]


def test_results_do_not_keep_the_programs(extractor: Extractor):
    row = program(17)
    before = sys.getrefcount(row)
    results = extractor.run([row])
    assert sys.getrefcount(row) == before
    assert results.value.tolist() == [17]


def test_a_dropped_handle_lets_go(patient: Extractor):
    start = time.monotonic()
    handle = patient.submit([LOOP])
    del handle
    assert time.monotonic() - start < 5
    assert patient.run([program(3)]).value.tolist() == [3]


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_python_may_end_while_a_batch_runs(isolation: str):
    play = f"""
import sys, threading, time
from reft_megatron.ops.extractor import Extractor, Limits
extractor = Extractor(
    threads=2, fallback="none", limits=Limits(max_steps=2**31 - 1), isolation="{isolation}"
)
rows = [{LOOP!r}] * 3
for _ in range(4):
    threading.Thread(target=extractor.run, args=(rows,), daemon=True).start()

class Slow:  # it lets the threads ask for the interpreter's lock, which they do not get any more
    def __del__(self, sleep=time.sleep):
        sleep(0.5)

sys.slow = Slow()
time.sleep(0.3)
"""
    command = [sys.executable, "-c", play]
    ended = subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert (ended.stdout, ended.stderr) == (b"", b"")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_holds_deadlines(patient: Extractor):
    handle = patient.submit([LOOP, LOOP + "#", *numbered(200)], deadline_s=0.5)
    start = time.monotonic()
    assert in_child(lambda: handle.result().status[0] == Status.CANCELLED) == 0
    assert handle.result().status[0] == Status.CANCELLED
    assert time.monotonic() - start < 10


def test_a_deadline_holds_for_who_only_asks(patient: Extractor):
    handle = patient.submit([LOOP], deadline_s=0.2)
    end = time.monotonic() + 10
    while not handle.done() and time.monotonic() < end:
        time.sleep(0.01)
    assert handle.done()
