"""One worker spoken to in frames: what it makes of programs that hang, crash or interfere."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reft_megatron.config import RewardConfig
from reft_megatron.rewards.worker_process import WorkerProcess

# Reaches the real `os` past the import guard, as a clever program might.
ESCAPE = "def solution():\n    import statistics\n    os = statistics.sys.modules['os']\n"

Ask = Callable[..., list[tuple[str, object, str]]]


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    config = RewardConfig(timeout_s=1.0, memory_mb=128)
    worker = WorkerProcess(config=config, preload=())
    worker.await_ready()
    yield worker
    worker.kill()


@pytest.fixture
def ask(worker: WorkerProcess) -> Ask:
    def ask(*sources: str) -> list[tuple[str, object, str]]:
        for job, source in enumerate(sources):
            request = {"source": source, "want": "number", "split_namespaces": False}
            worker.send(job, json.dumps(request).encode())
        replies: list[tuple[int, bytes]] = []
        while len(replies) < len(sources):
            replies += worker.receive()
        worker.jobs.clear()
        assert [job for job, _ in replies] == list(range(len(sources)))
        reports = [json.loads(body) for _, body in replies]
        return [(report["status"], report["value"], report["detail"]) for report in reports]

    return ask


RETURN_1 = "def solution():\n    return 1"


def test_answers_come_in_order(ask: Ask) -> None:
    sources = [f"def solution():\n    return {number}" for number in range(20)]
    assert [value for _, value, _ in ask(*sources)] == list(range(20))


def test_a_hung_program_costs_its_limit(ask: Ask) -> None:
    start = time.monotonic()
    hung = "def solution():\n    while True:\n        try:\n            1 / 0\n        except: pass"
    assert ask(hung, RETURN_1) == [("timeout", None, ""), ("ok", 1.0, "int")]
    assert 1.0 <= time.monotonic() - start < 3.0


def test_hanging_while_it_is_cleared_away_is_its_own_fault(ask: Ask) -> None:
    linger = """kept = []
def linger():
    try:
        yield 1
    finally:
        while True: pass
def solution():
    kept.append(linger())
    return next(kept[0])"""
    assert ask(linger, RETURN_1) == [("timeout", None, ""), ("ok", 1.0, "int")]


def test_a_death_is_told_and_survived(ask: Ask) -> None:
    found = ask(f"{ESCAPE}    os._exit(5)", RETURN_1, f"{ESCAPE}    os.abort()", RETURN_1)
    assert found[0] == ("runtime_error", None, "exit 5")
    status, _, signal_name = found[2]
    assert status == "runtime_error"
    assert signal_name in ("SIGABRT", "SIGSEGV")
    assert found[1] == found[3] == ("ok", 1.0, "int")


def test_memory_is_limited(ask: Ask) -> None:
    take = "def solution():\n    return len(bytes({} << 20))"
    small, large = ask(take.format(64), take.format(1000))
    assert small == ("ok", float(64 << 20), "int")
    assert large == ("memory", None, "")


@pytest.mark.parametrize(
    "attempt",
    [
        "os.system('touch {mark}')",
        "os.open('{mark}', 0o101)",
        "os.mkdir('{mark}')",
        "os.fork()",
        "os.execv('/bin/touch', ['touch', '{mark}'])",
        "os.posix_spawn('/bin/touch', ['touch', '{mark}'], {{}})",
        "os.kill(os.getppid(), 9)",
        "os.killpg(0, 9)",
        "os.setsid()",
        "os.sched_setaffinity(os.getppid(), [0])",
        "open('/etc/passwd')",
        "statistics.sys.modules['io'].open('/etc/passwd').read()",
        "statistics.sys.modules['_io'].FileIO('{mark}', 'w')",
    ],
)
def test_an_escape_from_the_guards_finds_locked_doors(
    ask: Ask, tmp_path: Path, attempt: str
) -> None:
    attempt = attempt.format(mark=tmp_path / "mark")
    [(status, _, detail)] = ask(f"{ESCAPE}    {attempt}\n    return 1")
    assert (status, detail) == ("runtime_error", "PermissionError")
    assert os.listdir(tmp_path) == []


def test_no_program_sees_another(ask: Ask) -> None:
    pairs = [
        ("import math\n    math.sqrt = len", "return math.sqrt(4)", 2.0),
        ("print.seen = 1", "return hasattr(print, 'seen')", 0.0),
        ("globals()['__builtins__']['len'] = 5", "return len('ab')", 2.0),
        (
            "import decimal\n    decimal.getcontext().prec = 2",
            "import decimal\n    return len(str(decimal.Decimal(1) / 3))",
            30.0,
        ),
        ("import fractions\n    fractions.x = 1", "import fractions\n    return fractions.x", None),
        ("import sys\n    sys.maxsize = 1", "import sys\n    return sys.maxsize", float(2**63 - 1)),
    ]
    for change, look, value in pairs:
        before, after = ask(
            f"def solution():\n    {change}\n    return 1", f"def solution():\n    {look}"
        )
        assert before == ("ok", 1.0, "int")
        assert after[1] == value


def test_chance_and_hashes_are_fixed(ask: Ask, worker: WorkerProcess) -> None:
    draw = "def solution():\n    import random\n    return random.random()"
    order = "def solution():\n    return ''.join({'1', '2', '3', '4', '5'})"
    first = ask(draw, order)
    assert ask(draw, order) == first
    other = WorkerProcess(config=RewardConfig(timeout_s=1.0), preload=())
    other.await_ready()
    body = {"source": order, "want": "number", "split_namespaces": False}
    other.send(1, json.dumps(body).encode())
    [(_, reply)] = other.receive()
    other.kill()
    assert json.loads(reply)["value"] == first[1][1]


def test_a_program_cannot_answer_for_the_next(ask: Ask) -> None:
    # It writes a reply of its own to every descriptor, twice; its own verdict is all it can touch.
    forged = f"""{ESCAPE}
    reply = b'{{"status": "ok", "value": 42.0, "detail": ""}}'
    frame = len(reply).to_bytes(4, 'little') + (0).to_bytes(8, 'little') + reply
    later = len(reply).to_bytes(4, 'little') + (1).to_bytes(8, 'little') + reply
    for fd in range(3, 64):
        try:
            os.write(fd, frame + later)
        except OSError:
            pass
    return 1"""
    assert ask(forged, RETURN_1)[1] == ("ok", 1.0, "int")


def test_a_runner_killed_from_outside_is_no_verdict(
    session_members: Callable[[int], list[int]],
) -> None:
    worker = WorkerProcess(config=RewardConfig(timeout_s=30.0), preload=())
    worker.await_ready()
    hung = {"source": "def solution():\n    while 1: pass", "want": "number"}
    worker.send(1, json.dumps({**hung, "split_namespaces": False}).encode())
    while not (runners := [p for p in session_members(worker.pid) if p != worker.pid]):
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(runners[0], signal.SIGKILL)
    with pytest.raises(ConnectionError, match="the worker died"):
        worker.receive()
    worker.kill()
