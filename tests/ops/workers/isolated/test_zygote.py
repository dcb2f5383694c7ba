"""One worker spoken to in frames: what it makes of programs that hang, crash or interfere."""

from __future__ import annotations

import os
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reft_megatron.ops.status import Status
from reft_megatron.ops.workers.isolated.frames import Limits, Reply, Request
from reft_megatron.ops.workers.process import WorkerProcess

# Reaches the real `os` past the import guard, as a clever program might.
ESCAPE = "def solution():\n    import statistics\n    os = statistics.sys.modules['os']\n"
HUNG = "def solution():\n    while 1: pass"
RETURN_1 = "def solution():\n    return 1"
ONE = Reply(status=Status.OK, value=1.0, detail="int")
LATE = Status.TIME_LIMIT
LIMITS = Limits(wall_s=1.0, memory_bytes=128 << 20, output_bytes=1 << 16)

Ask = Callable[..., list[Reply]]
Members = Callable[[int], list[int]]


def start() -> WorkerProcess:
    worker = WorkerProcess(python=sys.executable, preload=())
    while not worker.receive():
        pass
    return worker


def ask_of(worker: WorkerProcess, *sources: str, limits: Limits = LIMITS) -> list[Reply]:
    for job, source in enumerate(sources):
        worker.send(job, Request(id=job, source=source, limits=limits).pack())
    bodies: list[bytes] = []
    while len(bodies) < len(sources):
        bodies += worker.receive()
    worker.jobs.clear()
    found = [Reply.unpack(body) for body in bodies]
    assert [job for job, _ in found] == list(range(len(sources)))
    return [reply for _, reply in found]


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    worker = start()
    yield worker
    worker.kill()


@pytest.fixture
def ask(worker: WorkerProcess) -> Ask:
    return lambda *sources, **limits: ask_of(worker, *sources, **limits)


def test_answers_come_in_order(ask: Ask) -> None:
    sources = [f"def solution():\n    return {number}" for number in range(20)]
    assert [reply.value for reply in ask(*sources)] == list(range(20))


@pytest.mark.parametrize(
    "hung",
    [
        "def solution():\n    while True:\n        try:\n            1 / 0\n        except: pass",
        "def solution():\n    return sum(range(10**12))",
        # while it is cleared away
        """kept = []
def linger():
    try:
        yield 1
    finally:
        while True: pass
def solution():
    kept.append(linger())
    return next(kept[0])""",
    ],
    ids=["loop", "one call", "clearing"],
)
def test_a_hung_program_costs_its_limit(ask: Ask, hung: str) -> None:
    short = Limits(wall_s=0.3, memory_bytes=128 << 20, output_bytes=9)
    late, after = ask(hung, RETURN_1, limits=short)
    assert (late.status, after) == (LATE, ONE)


def test_limits_travel_with_each_program(ask: Ask) -> None:
    take = "def solution():\n    return len(bytes(64 << 20))"
    for megabytes, status in ((128, Status.OK), (32, Status.MEMORY_LIMIT), (128, Status.OK)):
        limits = Limits(wall_s=9.0, memory_bytes=megabytes << 20, output_bytes=9)
        assert ask(take, limits=limits)[0].status is status
    loud = "def solution():\n    print('x' * 20)\n    return 1"
    [found] = ask(loud, limits=Limits(wall_s=9.0, memory_bytes=64 << 20, output_bytes=9))
    assert (found.status, found.detail) == (Status.MEMORY_LIMIT, "OutputLimit")


def test_a_death_is_told_and_survived(ask: Ask) -> None:
    found = ask(f"{ESCAPE}    os._exit(5)", RETURN_1, f"{ESCAPE}    os.abort()", RETURN_1)
    assert (found[0].status, found[0].detail) == (Status.RUNTIME_ERROR, "exit 5")
    assert found[2].status is Status.RUNTIME_ERROR
    assert found[2].detail in ("SIGABRT", "SIGSEGV")
    assert found[1] == found[3] == ONE


def test_memory_is_limited(ask: Ask) -> None:
    take = "def solution():\n    return len(bytes({} << 20))"
    small, large = ask(take.format(64), take.format(1000))
    assert small.value == 64 << 20
    assert large.status is Status.MEMORY_LIMIT


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
        "os.chdir('/tmp')",
        "os.pipe()",
        "os.sched_setaffinity(os.getppid(), [0])",
        "open('/etc/passwd')",
        "statistics.sys.modules['io'].open('/etc/passwd').read()",
        "statistics.sys.modules['_io'].FileIO('{mark}', 'w')",
        "os.putenv('A', 'b')",
        "__import__('ctypes')",
        "statistics.sys.modules['importlib'].import_module('socket').socket()",
        "statistics.sys.modules['_signal'].setitimer(0, 1)",
        "statistics.sys.modules['_signal'].pthread_kill(0, 9)",
    ],
)
def test_an_escape_from_the_guards_finds_locked_doors(
    ask: Ask, tmp_path: Path, attempt: str
) -> None:
    attempt = attempt.format(mark=tmp_path / "mark")
    [found] = ask(f"{ESCAPE}    {attempt}\n    return 1")
    assert found.status is Status.DENIED
    assert os.listdir(tmp_path) == []


def test_what_it_makes_of_the_refusal_does_not_count(ask: Ask) -> None:
    [found] = ask(f"{ESCAPE}    try: os.system('true')\n    except: pass\n    return 1")
    assert (found.status, found.detail) == (Status.DENIED, "os.system")


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
        (
            "import fractions\n    fractions.x = 1",
            "import fractions\n    return 'x' in dir(fractions)",
            0.0,
        ),
        ("import sys\n    sys.maxsize = 1", "import sys\n    return sys.maxsize", float(2**63 - 1)),
    ]
    for change, look, value in pairs:
        before, after = ask(
            f"def solution():\n    {change}\n    return 1", f"def solution():\n    {look}"
        )
        assert before == ONE
        assert after.value == value


def test_chance_hashes_and_time_are_fixed(ask: Ask) -> None:
    draw = (
        "def solution():\n    import random\n    return random.random() + random.Random().random()"
    )
    order = "def solution():\n    return ''.join({'1', '2', '3', '4', '5'})"
    hour = "def solution():\n    import datetime\n    return datetime.datetime.now().timestamp()"
    first = ask(draw, order, hour)
    assert ask(draw, order, hour) == first
    assert [reply.status for reply in first] == [Status.OK] * 3
    other = start()
    assert ask_of(other, draw, order, hour) == first
    other.kill()


FORGE = f"""{ESCAPE}
    frame = {{frame!r}}
    for fd in range(3, 64):
        try:
            os.write(fd, frame)
        except OSError:
            pass
    {{then}}"""


def frame(job: int, reply: Reply) -> bytes:
    body = reply.pack(job)
    return struct.pack("<I", len(body)) + body


def test_a_program_cannot_answer_for_the_next(ask: Ask) -> None:
    # It writes replies of its own to every descriptor; its own verdict is all it can touch.
    lie = Reply(status=Status.OK, value=42.0)
    forged = FORGE.format(frame=frame(0, lie) + frame(1, lie), then="return 1")
    assert ask(forged, RETURN_1)[1] == ONE


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff" * 40,
        b"\0\0\0\0",
        frame(7, Reply(status=Status.OK, value=42.0)),
        frame(0, Reply(status=Status.WORKER_LOST)),
        struct.pack("<I", 3) + b"abc",
        struct.pack("<I", 23) + struct.pack("<QBHd", 0, 16, 0, 1.0) + b"\0\0\0\0",
    ],
)
def test_garbage_is_no_verdict(ask: Ask, garbage: bytes) -> None:
    found = ask(FORGE.format(frame=garbage, then="return 1"), RETURN_1)
    assert found[0].status is Status.WORKER_LOST
    assert found[1] == ONE


def test_a_frame_that_never_ends_is_late(ask: Ask) -> None:
    forged = FORGE.format(frame=struct.pack("<I", 1000) + b"x", then="while 1: pass")
    late, after = ask(forged, RETURN_1)
    assert (late.status, after) == (LATE, ONE)


@pytest.mark.parametrize("busy", [True, False], ids=["busy", "idle"])
def test_a_runner_killed_from_outside_is_no_verdict(session_members: Members, busy: bool) -> None:
    worker = start()
    patient = Limits(wall_s=60.0, memory_bytes=1 << 28, output_bytes=9)
    if busy:
        worker.send(1, Request(id=1, source=HUNG, limits=patient).pack())
    else:
        ask_of(worker, RETURN_1, limits=patient)
    while len(members := sorted(session_members(worker.pid))) < 3:
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(members[2], signal.SIGKILL)
    if busy:
        [body] = worker.receive()
        assert Reply.unpack(body)[1].status is Status.WORKER_LOST
    assert ask_of(worker, RETURN_1, limits=patient) == [ONE]  # the worker lives
    worker.kill()
