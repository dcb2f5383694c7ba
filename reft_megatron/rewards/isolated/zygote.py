"""The main loop of a worker: a clean process that forks runners and kills them.

Owns preloading, locking, forking, the wall clock and the reaping of runners. It never runs model
code itself. Single-threaded, so forking it is safe; the trainer is never forked. Standard library
only (the libraries it preloads are for the programs).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import math
import os
import select
import signal
import sys
import time
import warnings
from dataclasses import dataclass
from typing import Any

from . import frames, lockdown, program, runner

__all__ = ["Zygote", "main"]

_LIBRARIES = frozenset({"mpmath", "numpy", "sympy"})
_IMPORTED_LATE = ("_strptime",)
_READ = 1 << 16
_RETIRED, _OUT_OF_MEMORY = 0, 77  # exit codes of runners


@dataclass(frozen=True, slots=True, kw_only=True)
class _Runner:
    """A live runner as the zygote sees it."""

    pid: int
    """Process id."""
    jobs: int
    """Write end of its job pipe."""
    replies: int
    """Read end of its reply pipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    """What came back from a runner for one job."""

    mark: bytes = b""
    """`runner.KEEP`, `runner.RETIRE`, or empty if it died before it had compiled the program."""
    body: bytes | None = None
    """The reply, or None if none came whole."""
    late: bool = False
    """True if the time limit passed."""


def main(settings: str) -> None:
    """Serve the socket on standard input until it ends; `settings` is the trainer's JSON."""
    channel = os.dup(0)  # out of reach of what libraries may read from standard input
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    zygote = Zygote(channel=channel, settings=json.loads(settings))
    frames.write_all(channel, frames.encode(0, json.dumps(zygote.in_force).encode()))
    while (frame := frames.read_frame(channel)) is not None:
        job, body = frame
        frames.write_all(channel, frames.encode(job, zygote.answer(job, body)))
    zygote.dismiss()


class Zygote:
    """Forks runners, one at a time, and answers one job at a time."""

    def __init__(self, *, channel: int, settings: dict[str, Any]) -> None:
        self._channel = channel
        self._limits = runner.Limits(**settings["limits"])
        self._runner: _Runner | None = None
        sys.path += settings["libraries"]
        _preload(settings["preload"])
        self._readable = list(sys.path)
        self.in_force = lockdown.lock_zygote(settings["trainer"])
        self._memory_bytes = lockdown.address_space() + self._limits.memory_bytes
        gc.collect()
        gc.freeze()

    def answer(self, job: int, body: bytes) -> bytes:
        """The report on one job, from a runner or about its death.

        Exits where no runner can be had: the trainer then sees this worker die.
        """
        for _ in range(2):
            if self._runner is None:
                self._runner = self._fork()
            heard = self._ask(self._runner, job, body)
            if heard.body is not None:
                if heard.mark != runner.KEEP:
                    self.dismiss()
                return heard.body
            status = self.dismiss()
            if heard.late:
                return json.dumps(program.report("timeout")).encode()
            if heard.mark or status != _RETIRED:  # else it was gone before it saw this job
                return json.dumps(_obituary(status)).encode()
        sys.exit("no runner starts")

    def dismiss(self) -> int:
        """Kill the runner if there is one; returns its wait status."""
        if self._runner is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._runner.pid, signal.SIGKILL)
        _, status = os.waitpid(self._runner.pid, 0)
        os.close(self._runner.jobs)
        os.close(self._runner.replies)
        self._runner = None
        return status

    def _fork(self) -> _Runner:
        jobs_end, jobs = os.pipe()
        replies, replies_end = os.pipe()
        zygote = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                for fd in (self._channel, jobs, replies):
                    os.close(fd)
                self._become_runner(zygote=zygote, jobs=jobs_end, replies=replies_end)
            except MemoryError:
                os._exit(_OUT_OF_MEMORY)
            finally:
                os._exit(_RETIRED)
        os.close(jobs_end)
        os.close(replies_end)
        return _Runner(pid=pid, jobs=jobs, replies=replies)

    def _become_runner(self, *, zygote: int, jobs: int, replies: int) -> None:
        lockdown.lock_runner(
            parent=zygote,
            in_force=self.in_force,
            memory_bytes=self._memory_bytes,
            cpu_seconds=2 * math.ceil(self._limits.timeout_s) + 1,
        )
        runner.serve(jobs=jobs, replies=replies, limits=self._limits, readable=self._readable)

    def _ask(self, asked: _Runner, job: int, body: bytes) -> _Heard:
        deadline = time.monotonic() + self._limits.timeout_s
        try:
            frames.write_all(asked.jobs, frames.encode(job, body))
        except BrokenPipeError:
            return _Heard()
        reader, mark = frames.FrameReader(), b""
        while (data := self._hear(asked.replies, deadline)) is not None:
            if not data:
                return _Heard(mark=mark)
            if not mark:
                mark, data = data[:1], data[1:]
            with contextlib.suppress(ValueError):
                for answered, reply in reader.feed(data):
                    if answered == job:
                        return _Heard(mark=mark, body=reply)
        return _Heard(mark=mark, late=True)

    def _hear(self, replies: int, deadline: float) -> bytes | None:
        """Bytes of the runner, empty at its end, None past the deadline; exits with the trainer."""
        poll = select.poll()
        poll.register(replies, select.POLLIN)
        poll.register(self._channel, 0)  # only its end
        ready = dict(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
        if self._channel in ready:
            self.dismiss()
            sys.exit()
        return os.read(replies, _READ) if ready else None


def _preload(libraries: list[str]) -> None:
    """Import what programs may use, so that a runner finds it there and reads no file."""
    warnings.simplefilter("ignore")
    for name in sorted(program.ALLOWED_MODULES - _LIBRARIES) + list(_IMPORTED_LATE):
        importlib.import_module(name)
    for name in libraries:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    if "sympy" in sys.modules:
        _warm_up(sys.modules["sympy"])
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(runner.SEED)


def _warm_up(sympy: Any) -> None:
    """Solve what programs solve: a runner inherits the filled caches and late imports (7x)."""
    x, y = sympy.symbols("x y")
    sympy.solve(sympy.Eq(2 * x + 3, 11), x, dict=True)
    sympy.solve([sympy.Eq(x + y, 3), sympy.Eq(x - y, 1)], [x, y], dict=True)
    sympy.solve(x**2 - sympy.Rational(5, 2) * x + 1, x)
    float((x / 3).subs(x, 1.5))


def _obituary(status: int) -> program.Report:
    """What the end of a runner in the middle of a job says of the program."""
    if not os.WIFSIGNALED(status):
        code = os.waitstatus_to_exitcode(status)
        if code == _OUT_OF_MEMORY:
            return program.report("memory")
        return program.report("runtime_error", detail=f"exit {code}")
    number = os.WTERMSIG(status)
    if number == signal.SIGKILL:  # not by us: the machine is out of memory, or a person did it
        sys.exit("a runner was killed from outside")
    if number == signal.SIGXCPU:
        return program.report("timeout")
    return program.report("runtime_error", detail=signal.Signals(number).name)
