"""The trainer's end of one worker process: start, send, receive, kill.

Owns the process and its socket. Does not know what a program is, nor when a worker is too late:
`pool` decides that. The process is spawned clean (never a fork of the trainer), in a session of its
own, with an environment of its own and no descriptor but its socket.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import select
import signal
import socket
import time
from collections import deque
from pathlib import Path

from reft_megatron.ops.workers.isolated import frames

__all__ = ["BOOT", "LIBRARIES", "WorkerProcess", "parse_ready"]

LIBRARIES = ("sympy", "numpy")
"""Libraries a program may use if they are installed; slow to import, so only some workers do."""

# `ops` and `ops.workers` stand there as empty packages with a folder, so that `isolated` and
# `status` are found, with relative imports and all, and nothing else of this project is run.
BOOT = """
import sys, types
for name, folder in (("ops", sys.argv[1]), ("ops.workers", sys.argv[1] + "/workers")):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [folder]
"""
"""What a worker's interpreter executes first; its argument is the folder `ops`."""

_OPS = str(Path(__file__).resolve().parents[1])
_MAIN = BOOT + "from ops.workers.isolated import boot; boot.main(*sys.argv[2:])"
# -P -s -S and an environment of its own: all of -I, except that PYTHONHASHSEED counts.
_OPTIONS = ("-B", "-P", "-s", "-S", "-c", _MAIN, _OPS)
# Strings hash alike in every worker and it is the same hour: a program's result must not depend on
# where it ran. Nothing of the trainer's environment is passed on.
_ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "TZ": "UTC0",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
_SEND_TIMEOUT_S = 10.0
_LEAVE_S = 2.0
_READ = 1 << 16


class WorkerProcess:
    """One worker. `jobs` holds the jobs sent and not yet answered, oldest first."""

    def __init__(self, *, python: str, preload: tuple[str, ...]) -> None:
        """Start the process, without waiting until it is ready (its first frame says that).

        Raises OSError if the machine lacks processes or descriptors, or there is no such `python`.
        """
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as on_failure:
            on_failure.enter_context(ours)
            self.pid = _spawn(theirs, python=python, preload=preload)
            on_failure.pop_all()
        ours.settimeout(_SEND_TIMEOUT_S)
        self._socket = ours
        self._reader = frames.FrameReader()
        self._reaped = False
        self.jobs: deque[int] = deque()
        self.since = time.monotonic()
        """`time.monotonic()` from which it has been starting, or running the oldest job."""
        self.ready = False
        """True once it has said what protects it."""
        self.sent = 0
        """Jobs sent so far."""

    def fileno(self) -> int:
        """Descriptor to wait on."""
        return self._socket.fileno()

    def send(self, job: int, body: bytes) -> None:
        """Queue one job; raises ConnectionError if the worker is gone or does not read."""
        if not self.jobs:
            self.since = time.monotonic()
        self.jobs.append(job)
        self.sent += 1
        try:
            self._socket.sendall(frames.encode(body))
        except OSError as error:
            raise ConnectionError(f"the worker takes no job: {error}") from None

    def receive(self) -> list[bytes]:
        """Frames that have arrived; waits for some bytes.

        Raises ConnectionError at the end of the stream and ValueError at an overlong frame.
        """
        try:
            data = self._socket.recv(_READ)
        except OSError as error:
            raise ConnectionError(f"the worker is silent: {error}") from None
        if not data:
            raise ConnectionError("the worker died")
        return self._reader.feed(data)

    def kill(self) -> None:
        """End the process and all it started, for real, and reap it; safe to repeat.

        It is asked to kill and reap its own children first, so that no zombie of them is left to
        whoever is process 1; if it does not, the kernel ends them all.
        """
        if not self._reaped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
                _await_end(self.pid)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
            self._reaped = True
        self._socket.close()

    def disown(self) -> None:
        """Let go of a worker that belongs to the process this one was forked from."""
        self._reaped = True
        self._socket.close()


def parse_ready(body: bytes) -> dict[str, str]:
    """What protects a worker, by name, from its first frame; raises ValueError if it is no such."""
    lines = [line.partition("=") for line in body.decode().splitlines()]
    if not lines or not all(equals for _, equals, _ in lines):
        raise ValueError("the worker did not say what protects it.")
    return {name: state for name, _, state in lines}


def _spawn(theirs: socket.socket, *, python: str, preload: tuple[str, ...]) -> int:
    """Process id of a new worker that has `theirs` as its socket."""
    # Out of the way of the descriptors that are put in place below.
    source = fcntl.fcntl(theirs, fcntl.F_DUPFD_CLOEXEC, frames.CHANNEL + 1)
    try:
        return os.posix_spawn(
            python,
            [python, *_OPTIONS, str(os.getpid()), ":".join(preload), ":".join(_library_folders())],
            _ENVIRONMENT,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, source, frames.CHANNEL),
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )
    finally:
        os.close(source)


def _await_end(pid: int) -> None:
    """Wait, for a while, until the process has ended; it stays to be reaped."""
    try:
        watch = os.pidfd_open(pid)
    except OSError:  # no such call here, or no descriptor left: then without asking
        return
    try:
        poll = select.poll()
        poll.register(watch, select.POLLIN)
        poll.poll(_LEAVE_S * 1000)
    finally:
        os.close(watch)


def _library_folders() -> list[str]:
    """Folders to import the libraries from: the bare interpreter knows none."""
    specs = [importlib.util.find_spec(name) for name in (*LIBRARIES, "mpmath")]
    origins = [spec.origin for spec in specs if spec is not None and spec.origin is not None]
    return list(dict.fromkeys(str(Path(origin).parents[1]) for origin in origins))
