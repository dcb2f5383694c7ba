"""Programs written to break executors: right outcomes, and nothing left behind."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import signal
import time
from pathlib import Path
from typing import Literal

import pytest

from reft_megatron.ops.extractor import Extractor, Limits
from reft_megatron.ops.status import Status

pytestmark = pytest.mark.shared_data

MARK = Path("/tmp/ADV_MARK")
"""What the adversaries try to create."""

LIMITS = {
    Status.STEP_LIMIT,
    Status.TIME_LIMIT,
    Status.MEMORY_LIMIT,
    Status.DIGITS_LIMIT,
    Status.INPUT_LIMIT,
}
RIGHT = {
    "limit": LIMITS,
    "denied": {Status.DENIED},
    "error": {Status.RUNTIME_ERROR},
    "none": {Status.NON_NUMERIC},
    "syntax": {Status.SYNTAX_ERROR},
    "nosol": {Status.NO_ENTRY},
}

# Where the suite leaves the choice to us: ours, and why.
POLICY: dict[str, set[Status | float]] = {
    "t09": {Status.TIME_LIMIT},  # the regular expression runs into the wall clock
    "o06": {Status.RUNTIME_ERROR},  # sys.exit raises SystemExit, no value
    "o07": {Status.DENIED},  # exit leads outside
    "o22": {Status.DENIED},  # eval is refused
    "o24": {1.0},  # globals() is the program's own namespace
    "o39": {2024.0},  # the clock stands still
    "s20": {6.0},  # chatter is cut
    "s30": {Status.SYNTAX_ERROR},  # a lone surrogate does not compile
    "v05": {Status.OK_NONFINITE},
    "v07": {Status.OK_NONFINITE},
    "v59": {3.0, Status.NON_NUMERIC},  # numpy decides whether an array of one is a number
}


def traces(*folders: Path) -> tuple[object, ...]:
    """What a program might change around the trainer."""
    files = {path for folder in folders for path in folder.rglob("*")}
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    timer = signal.getitimer(signal.ITIMER_REAL)
    limits = os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0), os.umask(0o22)
    return dict(os.environ), os.getcwd(), files, handlers, timer, limits


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def descendants() -> set[int]:
    """Live processes below this one."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it ended while we looked
        if state != "Z":
            parents[int(stat.parent.name)] = int(parent)
    found = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


def sockets(pids: set[int]) -> set[str]:
    """What the processes are connected to beyond a pair of this process's own sockets."""
    links = set()
    for pid in pids:
        for table in ("tcp", "udp", "tcp6", "udp6"):
            lines = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
            links |= {(pid, line.split()[9]) for line in lines}
    held = set()
    for pid in pids:
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            target = os.readlink(fd)
            if target.startswith("socket:") and (pid, target[8:-1]) in links:
                held.add(target)
    return held


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


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_all_end_as_they_should(
    isolation: Literal["thread", "process"], shared_data: Path, folders: list[Path]
) -> None:
    with gzip.open(shared_data / "programs" / "adversaries.json.gz") as file:
        cases = json.load(file)
    assert len(cases) == 145
    MARK.unlink(missing_ok=True)
    before, open_before, others = traces(*folders), descriptors(), descendants()

    with Extractor(isolation=isolation, limits=Limits(wall_s=3.0)) as extractor:
        results = extractor.run([case["code"] for case in cases])
        assert sockets(descendants() - others) == set()
        stats = extractor.stats()
        assert (stats["workers"]["respawns"], stats["workers"]["faults"]) == (0, 0)

    wrong = []
    for row, case in enumerate(cases):
        status = Status(results.status[row])
        seen = float(results.value[row]) if status is Status.OK else status
        if seen not in right(case):
            wrong.append((case["id"], seen, results.why(row), results.exception(row), right(case)))
    assert wrong == []

    assert not MARK.exists()
    assert traces(*folders) == before
    assert descriptors() == open_before
    deadline = time.monotonic() + 5
    while descendants() - others:
        assert time.monotonic() < deadline, "a process outlived the extractor"
        time.sleep(0.02)
