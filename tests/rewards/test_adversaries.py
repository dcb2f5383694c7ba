"""Programs written to break executors: right verdicts, and nothing left behind."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reft_megatron.config import RewardConfig
from reft_megatron.rewards import Judge
from reft_megatron.types import Reason, Verdict

pytestmark = pytest.mark.shared_data

MARK = Path("/tmp/ADV_MARK")
"""What the adversaries try to create."""

RIGHT = {
    "limit": {Reason.TIMEOUT, Reason.MEMORY},
    "denied": {Reason.RUNTIME_ERROR},
    "error": {Reason.RUNTIME_ERROR},
    "none": {Reason.NON_NUMERIC},
    "syntax": {Reason.SYNTAX_ERROR},
    "nosol": {Reason.NO_SOLUTION},
}

# Where the suite leaves the choice to us, or where another outcome is as good: ours, and why.
POLICY: dict[str, set[Reason | float]] = {
    "t09": {Reason.TIMEOUT},  # the regular expression runs into the wall clock
    "r07": {Reason.SYNTAX_ERROR},  # CPython's compiler gives up on it, and that is all
    "r08": {Reason.SYNTAX_ERROR},
    "r13": {Reason.SYNTAX_ERROR},
    "o06": {Reason.RUNTIME_ERROR},  # sys.exit raises SystemExit, no value
    "o07": {Reason.RUNTIME_ERROR},  # exit is refused
    "o22": {Reason.RUNTIME_ERROR},  # eval is refused
    "o24": {1.0},  # globals() is the program's own namespace
    "o25": {42.0},  # it patched its own process only: see test_no_program_sees_another
    "o30": {Reason.NON_NUMERIC},  # nothing is unpickled: an object is no number
    "o31": {Reason.TIMEOUT},  # float() runs under the limit
    "o33": {Reason.RUNTIME_ERROR},  # OutputLimit
    "o39": {float(time.gmtime().tm_year)},  # the clock is real
    "s20": {6.0},  # chatter is cut
    "s30": {Reason.SYNTAX_ERROR},  # a lone surrogate does not compile
    "v05": {Reason.NON_FINITE},
    "v07": {Reason.NON_FINITE},
    "v59": {3.0, Reason.NON_NUMERIC},  # numpy decides whether an array of one is a number
    "v67": {0.9999999999999999, 1.0},  # Python 3.12 sums floats with compensation
}

# Of the adversaries that are refused, only these may fail otherwise than at a guard.
GUARDS = {"ImportError", "PermissionError"}
OTHERWISE = {"r04": "AttributeError"}  # the stand-in for sys has no setrecursionlimit


def traces(*folders: Path) -> tuple[object, ...]:
    """What a program might change around the trainer: its environment, place, files, open files."""
    files = {path for folder in folders for path in folder.rglob("*")}
    return dict(os.environ), os.getcwd(), files, len(os.listdir("/proc/self/fd"))


def found(verdict: Verdict) -> Reason | float | str | None:
    return verdict.value if verdict.extracted else verdict.reason


def right(case: dict[str, object]) -> set[Reason | float]:
    if case["id"] in POLICY:
        return POLICY[str(case["id"])]
    for library in ("sympy", "numpy"):
        if library in str(case["code"]) and importlib.util.find_spec(library) is None:
            return {Reason.RUNTIME_ERROR}
    if case["exp"] == "value":
        return {float(str(case["val"]))}
    return RIGHT[str(case["exp"])]  # type: ignore[return-value]  # reasons alone


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
) -> None:
    with gzip.open(shared_data / "programs" / "adversaries.json.gz") as file:
        cases = json.load(file)
    assert len(cases) == 145
    cases = [case for case in cases if (Reason.TIMEOUT in right(case)) is endless]
    MARK.unlink(missing_ok=True)
    before = traces(*folders)

    # A busy machine must not turn an ending program into an endless one.
    config = RewardConfig(workers=3, timeout_s=1.0 if endless else 10.0)
    with Judge(form="program", kind="number", config=config, parity="correct") as judge:
        verdicts = judge.judge([(case["code"], "0") for case in cases])
        workers = [worker for group in judge._pool._workers.values() for worker in group]
        for worker in workers:
            assert len(session_members(worker.pid)) <= 2  # itself and at most one idle runner
            assert sockets(session_members(worker.pid)) == 1  # its line to the trainer

    outcomes = [
        (case["id"], found(v), v.detail, right(case))
        for case, v in zip(cases, verdicts, strict=True)
    ]
    assert [outcome for outcome in outcomes if outcome[1] not in outcome[3]] == []
    denied = {case["id"] for case in cases if case["exp"] == "denied"}
    unguarded = {
        (name, detail)
        for name, outcome, detail, _ in outcomes
        if name in denied and outcome is Reason.RUNTIME_ERROR and detail not in GUARDS
    }
    assert unguarded == (set() if endless else set(OTHERWISE.items()))

    assert judge.stats()["respawns"] == judge.stats()["faults"] == 0
    assert not MARK.exists()
    assert traces(*folders) == before
    deadline = time.monotonic() + 5
    while any(session_members(worker.pid) for worker in workers):
        assert time.monotonic() < deadline, "a process outlived the judge"
        time.sleep(0.02)


def sockets(pids: list[int]) -> int:
    """Sockets that these processes hold."""
    links = [os.readlink(fd) for pid in pids for fd in Path(f"/proc/{pid}/fd").iterdir()]
    return sum(link.startswith("socket:") for link in links)
