"""The core in locked processes: same outcomes, and deaths that cost nobody else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reft_megatron.ops.extractor import Extractor, Limits, Status

LOOP = "def solution():\n    while True:\n        pass\n"


def program(value: object) -> str:
    return f"def solution():\n    x = {value}\n    return x\n"


@pytest.fixture
def extractor() -> Iterator[Extractor]:
    with Extractor(threads=2, isolation="process", fallback="none") as made:
        yield made


def hosts(parent: int | None = None) -> list[int]:
    """Live host processes of `parent`, or this one."""
    owner = parent or os.getpid()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, above = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_text()
        except OSError:
            continue  # it ended while we looked
        if int(above) == owner and state != "Z" and "module.serve" in command:
            found.append(int(folder.name))
    return found


def test_outcomes_are_those_of_threads(extractor: Extractor):
    rows = [program(value) for value in ("1", "1 / 0", "'12'", "'x'", "[]", "10**400", "f'{2.5}'")]
    rows += [LOOP, "def solution(", "x = 1", "def solution():\n    import os\n    return 1\n"]
    with Extractor(threads=1, fallback="none") as plain:
        for want_text in (False, True):
            a, b = plain.run(rows, want_text=want_text), extractor.run(rows, want_text=want_text)
            for name in ("status", "exc", "steps"):
                assert getattr(a, name).tolist() == getattr(b, name).tolist()
            assert str(a.value.tolist()) == str(b.value.tolist())
            for i in range(len(rows)):
                assert (a.text(i), a.why(i), a.type_name(i)) == (
                    b.text(i),
                    b.why(i),
                    b.type_name(i),
                )


def test_large_batches(extractor: Extractor):
    rows = [program(i) + "#" * (i * 7919 % 3000) for i in range(5000)]
    assert extractor.run(rows).value.tolist() == list(range(5000))


def test_texts_beyond_the_limit(extractor: Extractor):
    rows = [program(1) + "#" * 3_000_000, program(2)]
    rows.append("def solution():\n    return '" + "\u00e9" * 1_000_000)  # cut, it is no UTF-8
    wanted = [Status.INPUT_LIMIT, Status.OK, Status.INPUT_LIMIT]
    assert extractor.run(rows).status.tolist() == wanted
    with pytest.raises(ValueError, match="max_source_bytes is at most"):
        Extractor(isolation="process", limits=Limits(max_source_bytes=1 << 24))


def test_what_protects_the_machine(extractor: Extractor):
    extractor.run([program(1)])
    told = extractor.stats()["processes"]
    assert told["started"] == 1
    assert told["isolation"].pop("seccomp") or os.uname().machine not in ("x86_64", "aarch64")
    assert all(told["isolation"].values())
    (host,) = hosts()
    status = Path(f"/proc/{host}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert len(list(Path(f"/proc/{host}/fd").iterdir())) == 4


def test_close_ends_the_processes(extractor: Extractor):
    extractor.run([program(i) for i in range(100)])
    assert hosts()
    extractor.close()
    assert not hosts()
    assert extractor.run([program(5)]).value[0] == 5


def test_killed_processes_lose_no_row(extractor: Extractor):
    stop = threading.Event()

    def kill_often() -> None:
        while not stop.is_set():
            for host in hosts()[:1]:
                os.kill(host, signal.SIGKILL)
            time.sleep(0.05)

    killer = threading.Thread(target=kill_often)
    killer.start()
    try:
        rows = [program(f"sum(range({i % 5000})) + {i}") for i in range(20_000)]
        results = extractor.run(rows)
    finally:
        stop.set()
        killer.join()
    # A row may be hit twice, never answered wrongly.
    lost = results.status == Status.WORKER_LOST
    wanted = [sum(range(i % 5000)) + i for i in range(20_000)]
    assert lost.sum() <= 4
    assert extractor.stats()["processes"]["lost"] >= 2
    assert all(a == b for a, b, out in zip(results.value, wanted, lost, strict=True) if not out)


def test_a_process_that_stops_is_replaced(extractor: Extractor):
    extractor.run([program(1)])
    (host,) = hosts()
    os.kill(host, signal.SIGSTOP)
    start = time.monotonic()
    assert extractor.run([program(2)]).value.tolist() == [2]
    assert time.monotonic() - start < 20
    assert extractor.stats()["processes"]["lost"] == 1


def test_a_deadline_kills():
    limits = Limits(max_steps=2**31 - 1)
    with Extractor(isolation="process", limits=limits, fallback="none") as patient:
        start = time.monotonic()
        assert patient.run([LOOP], deadline_s=0.5).status.tolist() == [Status.CANCELLED]
        assert time.monotonic() - start < 10
        assert patient.run([program(1)]).value.tolist() == [1]


def test_no_python_no_process():
    with Extractor(isolation="process", worker_python="/nowhere", fallback="none") as extractor:
        start = time.monotonic()
        rows = [program(i) for i in range(20_000)]
        assert set(extractor.run(rows).status.tolist()) == {Status.WORKER_LOST}
        assert time.monotonic() - start < 20


def test_a_deadline_holds_while_a_process_starts(tmp_path: Path):
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\nexec sleep 100\n")
    slow.chmod(0o755)
    with Extractor(isolation="process", worker_python=str(slow), fallback="none") as extractor:
        start = time.monotonic()
        assert extractor.run([program(1)], deadline_s=0.5).status.tolist() == [Status.CANCELLED]
        assert time.monotonic() - start < 10


TRAINER = """
import os, sys, time
from reft_megatron.ops.extractor import Extractor
extractor = Extractor(threads=2, isolation="process", fallback="none")
rows = [f"def solution():\\n    return {i}\\n" for i in range(2000)]
"""


def gone(processes: list[int], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while any(Path(f"/proc/{process}/fd").exists() for process in processes):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_a_killed_trainer_leaves_no_process():
    # Its forked child lives on, and holds the channels open.
    play = """
extractor.run(rows)
child = os.fork()
if child == 0:
    time.sleep(60)
print(child, flush=True)
while True:
    extractor.run(rows)
"""
    with subprocess.Popen(
        [sys.executable, "-c", TRAINER + play], stdout=subprocess.PIPE
    ) as trainer:
        assert trainer.stdout is not None
        child = int(trainer.stdout.readline())
        try:
            left = hosts(trainer.pid)
            assert left
            trainer.kill()
            trainer.wait()
            assert gone(left)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_trainer_without_standard_files():
    play = """
os.closerange(0, 3)
sys.stdin = sys.stdout = sys.stderr = None
os._exit(extractor.run(rows).value.tolist() != list(range(2000)))
"""
    subprocess.run([sys.executable, "-c", TRAINER + play], check=True, timeout=100)
