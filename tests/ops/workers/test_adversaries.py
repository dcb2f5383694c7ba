"""Programs written to break executors: right statuses, and nothing left behind."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reft_megatron.ops.status import Status
from reft_megatron.ops.workers import Reply, WorkerPool

pytestmark = pytest.mark.shared_data

MARK = Path("/tmp/ADV_MARK")
"""What the adversaries try to create."""

LATE, MEMORY, INPUT = Status.TIME_LIMIT, Status.MEMORY_LIMIT, Status.INPUT_LIMIT
RIGHT = {
    "limit": {LATE, MEMORY, INPUT},
    "denied": {Status.DENIED},
    "error": {Status.RUNTIME_ERROR},
    "none": {Status.NON_NUMERIC},
    "syntax": {Status.SYNTAX_ERROR},
    "nosol": {Status.NO_ENTRY},
}

# Where the suite leaves the choice to us, or where another outcome is as good: ours, and why.
POLICY: dict[str, set[Status | float]] = {
    "t09": {LATE},  # the regular expression runs into the wall clock
    "o06": {Status.RUNTIME_ERROR},  # sys.exit and exit raise SystemExit, no value
    "o07": {Status.RUNTIME_ERROR},
    "o22": {Status.DENIED},  # eval is refused
    "o24": {1.0},  # globals() is the program's own namespace
    "o25": {42.0},  # it patched its own process only: see test_no_program_sees_another
    "o39": {2024.0},  # the clock stands still
    "s20": {Status.SYNTAX_ERROR},  # cutting the chatter is another's business
    "s30": {Status.SYNTAX_ERROR},  # a lone surrogate does not compile
    "v05": {Status.OK_NONFINITE},
    "v07": {Status.OK_NONFINITE},
    "v59": {3.0, Status.NON_NUMERIC},  # numpy decides whether an array of one is a number
    "v67": {0.9999999999999999, 1.0},  # Python 3.12 sums floats with compensation
}


def traces(*folders: Path) -> tuple[object, ...]:
    """What a program might change around the trainer: environment, place, files, open files,
    signals.
    """
    files = {path for folder in folders for path in folder.rglob("*")}
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    alarm = signal.getitimer(signal.ITIMER_REAL)
    return dict(os.environ), os.getcwd(), files, os.listdir("/proc/self/fd"), handlers, alarm


def found(reply: Reply) -> Status | float:
    return reply.value if reply.status is Status.OK else reply.status


def right(case: dict[str, object]) -> set[Status | float]:
    if case["id"] in POLICY:
        return POLICY[str(case["id"])]
    for library in ("sympy", "numpy"):
        if library in str(case["code"]) and importlib.util.find_spec(library) is None:
            return {Status.RUNTIME_ERROR}
    if case["exp"] == "value":
        return {float(str(case["val"]))}
    return RIGHT[str(case["exp"])]  # type: ignore[return-value]  # statuses alone


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Working folder, home and temporary folder of the trainer, to be watched."""
    folders = [tmp_path / name for name in ("work", "home", "tmp")]
    for folder, variable in zip(folders, (None, "HOME", "TMPDIR"), strict=True):
        folder.mkdir()
        if variable:
            monkeypatch.setenv(variable, str(folder))
    monkeypatch.chdir(folders[0])
    return folders


@pytest.mark.parametrize("endless", [True, False], ids=["endless", "ending"])
def test_all_end_as_they_should(
    endless: bool,
    shared_data: Path,
    folders: list[Path],
    session_members: Callable[[int], list[int]],
    all_gone: Callable[[list[int]], None],
) -> None:
    with gzip.open(shared_data / "programs" / "adversaries.json.gz") as file:
        cases = json.load(file)
    assert len(cases) == 145
    cases = [case for case in cases if (LATE in right(case)) is endless]
    MARK.unlink(missing_ok=True)
    before = traces(*folders)

    # A busy machine must not turn an ending program into an endless one.
    with WorkerPool(workers=3, wall_s=0.8 if endless else 20.0) as pool:
        replies = pool.run([case["code"] for case in cases])
        sessions = [worker.pid for worker in pool._all()]
        for session in sessions:
            assert sockets(session_members(session)) == 1  # its line to the trainer
            # Boot, zygote, and at most one idle runner; they need a moment to get there.
            settle(lambda session=session: len(session_members(session)) <= 3)

    outcomes = [
        (case["id"], found(reply), reply.detail, right(case))
        for case, reply in zip(cases, replies, strict=True)
    ]
    assert [outcome for outcome in outcomes if outcome[1] not in outcome[3]] == []
    assert pool.stats()["respawns"] == pool.stats()["faults"] == 0
    assert not MARK.exists()
    assert traces(*folders) == before
    all_gone(sessions)


def settle(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def sockets(pids: list[int]) -> int:
    """Sockets that these processes hold."""
    links = [os.readlink(fd) for pid in pids for fd in Path(f"/proc/{pid}/fd").iterdir()]
    return sum(link.startswith("socket:") for link in links)
