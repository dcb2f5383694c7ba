"""The trainer's end of one worker process: start, send, receive, kill.

Owns the process and its socket. Does not know what a program is, nor when a worker is too late:
`pool` decides that. The process is started clean (never a fork of the trainer that lives on), in a
session of its own, with an empty environment, no inherited descriptor and `/` as its folder.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

from reft_megatron.config import RewardConfig
from reft_megatron.rewards.isolated import frames

__all__ = ["LIBRARIES", "WorkerProcess"]

LIBRARIES = ("sympy", "numpy")
"""Libraries a program may use if they are installed; slow to import, so only some workers do."""

_START_TIMEOUT_S = 60.0
_SEND_TIMEOUT_S = 10.0
_READ = 1 << 16
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); from isolated import zygote; "
    "del sys.path[0]; zygote.main(sys.argv[2])"
)
# Strings hash alike in every worker: a program's result must not depend on which one ran it.
# Nothing else of the trainer's environment is passed on.
_ENVIRONMENT = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class WorkerProcess:
    """One worker. `jobs` holds the jobs sent and not yet answered, oldest first."""

    def __init__(self, *, config: RewardConfig, preload: tuple[str, ...]) -> None:
        """Start the process, without waiting until it is ready (`await_ready` does).

        Raises OSError if the machine lacks processes or descriptors.
        """
        ours, theirs = socket.socketpair()
        # -P -s -S and a bare environment: all of -I except that PYTHONHASHSEED counts.
        command = [sys.executable, "-B", "-P", "-s", "-S", "-c", _BOOT]
        command += [str(Path(__file__).parent), json.dumps(_settings(config, preload))]
        with theirs, contextlib.ExitStack() as on_failure:
            on_failure.enter_context(ours)
            self._process = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
            on_failure.pop_all()
        self._socket = ours
        self._reader = frames.FrameReader()
        self.jobs: deque[int] = deque()
        self.since = 0.0
        """`time.monotonic()` from which the oldest job has been running."""
        self.sent = 0
        """Jobs sent so far."""

    @property
    def pid(self) -> int:
        """Process id; the process group and the session have the same number."""
        return self._process.pid

    def fileno(self) -> int:
        """Descriptor to wait on."""
        return self._socket.fileno()

    def await_ready(self) -> dict[str, str]:
        """Block until the worker is locked down; returns what protects it, by name.

        Raises ConnectionError if it dies or is silent for a minute.
        """
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            self._socket.settimeout(max(0.01, deadline - time.monotonic()))
            for _, body in self.receive():
                self._socket.settimeout(_SEND_TIMEOUT_S)
                in_force: dict[str, str] = json.loads(body)
                return in_force

    def send(self, job: int, body: bytes) -> None:
        """Queue one job; raises ConnectionError if the worker is gone or does not read."""
        if not self.jobs:
            self.since = time.monotonic()
        self.jobs.append(job)
        self.sent += 1
        try:
            self._socket.sendall(frames.encode(job, body))
        except OSError as error:
            raise ConnectionError(f"the worker takes no job: {error}") from None

    def receive(self) -> list[tuple[int, bytes]]:
        """Replies that have arrived; raises ConnectionError at the end of the stream."""
        try:
            data = self._socket.recv(_READ)
        except OSError as error:
            raise ConnectionError(f"the worker is silent: {error}") from None
        if not data:
            raise ConnectionError("the worker died")
        return self._reader.feed(data)

    def kill(self) -> None:
        """End the process and all it started, for real, and reap it; safe to repeat."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._socket.close()


def _settings(config: RewardConfig, preload: tuple[str, ...]) -> dict[str, object]:
    return {
        "trainer": os.getpid(),
        "preload": preload,
        "libraries": _library_folders(),
        "limits": {
            "timeout_s": config.timeout_s,
            "memory_bytes": config.memory_mb << 20,
            "output_chars": config.max_output_kb << 10,
        },
    }


def _library_folders() -> list[str]:
    """Folders to import the libraries from: the bare interpreter knows none."""
    specs = [importlib.util.find_spec(name) for name in (*LIBRARIES, "mpmath")]
    origins = [spec.origin for spec in specs if spec is not None and spec.origin is not None]
    return list(dict.fromkeys(str(Path(origin).parents[1]) for origin in origins))
