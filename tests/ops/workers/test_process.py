"""The worker as a process: where it lives, what it inherits, how it ends."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reft_megatron.ops.workers.isolated.frames import Limits, Request
from reft_megatron.ops.workers.process import WorkerProcess, parse_ready

LIMITS = Limits(wall_s=60.0, memory_bytes=1 << 28, output_bytes=1 << 16)
HUNG = Request(id=1, source="def solution():\n    while 1: pass", limits=LIMITS).pack()

Members = Callable[[int], list[int]]
Gone = Callable[[list[int]], None]


def start() -> WorkerProcess:
    return WorkerProcess(python=sys.executable, preload=())


def ready(worker: WorkerProcess) -> dict[str, str]:
    while not (bodies := worker.receive()):
        pass
    return parse_ready(bodies[0])


def busy(members: Members, worker: WorkerProcess) -> None:
    """Wait until boot, zygote and runner are there."""
    while len(members(worker.pid)) < 3:
        time.sleep(0.01)


@pytest.fixture
def worker() -> Iterator[WorkerProcess]:
    worker = start()
    yield worker
    worker.kill()


def test_a_worker_is_alone(
    monkeypatch: pytest.MonkeyPatch, session_members: Members, tmp_path: Path
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    inherited = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(inherited, True)  # as a library's descriptor may be
    a_socket = socket.socket()
    a_socket.set_inheritable(True)
    worker = start()
    assert ready(worker)["rlimits"] == "on"
    assert os.getsid(worker.pid) == os.getpgid(worker.pid) == worker.pid
    boot, zygote = sorted(session_members(worker.pid))
    assert boot == worker.pid
    for pid, sockets in ((boot, 0), (zygote, 1)):
        proc = Path(f"/proc/{pid}")
        assert os.readlink(proc / "cwd") == "/"
        assert b"SECRET_TOKEN" not in (proc / "environ").read_bytes()
        files = [os.readlink(fd) for fd in (proc / "fd").iterdir()]
        assert len([name for name in files if name.startswith("socket:")]) == sockets
        named = {name for name in files if name.startswith("/")}
        assert named == {"/dev/null"}
        assert len(list((proc / "task").iterdir())) == 1
    worker.kill()
    os.close(inherited)
    a_socket.close()


def test_signals_are_as_a_fresh_process_has_them() -> None:
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    worker = start()
    ready(worker)
    status = Path(f"/proc/{worker.pid}/status").read_text()
    masks = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Sig"))
    assert int(masks["SigBlk"], 16) == 0
    assert not int(masks["SigIgn"], 16) >> (signal.SIGUSR1 - 1) & 1
    worker.kill()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
    signal.signal(signal.SIGUSR1, before)


def test_kill_ends_and_reaps_all(
    worker: WorkerProcess, session_members: Members, all_gone: Gone
) -> None:
    ready(worker)
    worker.send(1, HUNG)
    busy(session_members, worker)
    worker.kill()
    assert session_members(worker.pid) == []  # not even a zombie
    worker.kill()  # once more is harmless


def test_a_worker_that_does_not_listen_is_killed_too(
    worker: WorkerProcess,
    session_members: Members,
    all_gone: Gone,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("reft_megatron.ops.workers.process._LEAVE_S", 0.05)
    ready(worker)
    for pid in session_members(worker.pid):
        os.kill(pid, signal.SIGSTOP)
    worker.kill()
    all_gone([worker.pid])


@pytest.mark.parametrize("who", [0, 1], ids=["boot", "zygote"])
def test_one_does_not_outlive_the_other(
    worker: WorkerProcess, session_members: Members, all_gone: Gone, who: int
) -> None:
    ready(worker)
    worker.send(1, HUNG)
    busy(session_members, worker)
    os.kill(sorted(session_members(worker.pid))[who], signal.SIGKILL)
    with pytest.raises(ConnectionError, match=r"the worker (died|is silent)"):
        worker.receive()
    worker.kill()
    all_gone([worker.pid])


def test_a_dead_worker_is_a_connection_error(worker: WorkerProcess) -> None:
    ready(worker)
    worker.kill()
    with pytest.raises(ConnectionError):
        worker.receive()
    with pytest.raises(ConnectionError):
        worker.send(1, HUNG)


def test_a_worker_ends_when_its_socket_ends(
    worker: WorkerProcess, session_members: Members
) -> None:
    ready(worker)
    worker.send(1, HUNG)  # it must notice while a program runs
    busy(session_members, worker)
    end = os.pidfd_open(worker.pid)
    worker.disown()
    assert select.select([end], [], [], 20)[0]
    os.close(end)
    assert os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1]) == 0


def test_no_such_interpreter() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        WorkerProcess(python="/no/such/python", preload=())
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("body", [b"", b"rlimits", b"a=on\nb", b"\xff=on"])
def test_a_first_frame_that_is_none(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"protects|decode"):
        parse_ready(body)
