"""The worker as a process: where it lives, what it inherits, how it ends."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reft_megatron.config import RewardConfig
from reft_megatron.rewards.worker_process import WorkerProcess

HUNG = b'{"source": "def solution():\\n    while 1: pass", "want": "number", "split_namespaces": 0}'


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerProcess]:
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    worker = WorkerProcess(config=RewardConfig(timeout_s=20.0), preload=())
    yield worker
    worker.kill()


def test_a_worker_is_alone(worker: WorkerProcess) -> None:
    assert worker.await_ready()["rlimits"] == "on"
    proc = Path(f"/proc/{worker.pid}")
    assert os.getsid(worker.pid) == os.getpgid(worker.pid) == worker.pid
    assert os.readlink(proc / "cwd") == "/"
    assert b"SECRET_TOKEN" not in (proc / "environ").read_bytes()
    open_files = [os.readlink(fd) for fd in (proc / "fd").iterdir()]
    assert len([name for name in open_files if name.startswith("socket:")]) == 1
    assert {name for name in open_files if not name.startswith("socket:")} == {"/dev/null"}
    threads = list((proc / "task").iterdir())
    assert len(threads) == 1


def test_kill_ends_the_runner_too(
    worker: WorkerProcess, session_members: Callable[[int], list[int]]
) -> None:
    worker.await_ready()
    worker.send(1, HUNG)
    while len(session_members(worker.pid)) < 2:
        time.sleep(0.01)
    worker.kill()
    deadline = time.monotonic() + 5
    while session_members(worker.pid):
        assert time.monotonic() < deadline, "a runner outlived its worker"
        time.sleep(0.01)
    worker.kill()  # once more is harmless


def test_a_dead_worker_is_a_connection_error(worker: WorkerProcess) -> None:
    worker.await_ready()
    worker.kill()
    with pytest.raises(ConnectionError):
        worker.receive()
    with pytest.raises(ConnectionError):
        worker.send(1, HUNG)


def test_a_worker_ends_when_its_socket_ends(worker: WorkerProcess) -> None:
    worker.await_ready()
    worker.send(1, HUNG)  # it must notice while a program runs
    worker._socket.close()
    assert worker._process.wait(timeout=5) == 0
