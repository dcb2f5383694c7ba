"""The main loop of a worker: a clean process that forks runners and kills them.

Owns preloading, locking, forking, the wall clock and the reaping of runners. It never runs model
code itself. Single-threaded, so forking it is safe; the trainer is never forked. Standard library
only (the libraries it preloads are for the programs).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import math
import os
import select
import signal
import sys
import time
import warnings
from dataclasses import dataclass
from typing import Any

from ...status import EXCEPTIONS, Status
from . import chance, frames, guards, lockdown, runner

__all__ = ["Zygote", "main"]

_LIBRARIES = frozenset({"mpmath", "numpy", "sympy"})
_READ = 1 << 16
_START_S = 10.0
_RETIRED, _OUT_OF_MEMORY = 0, 77  # exit codes of runners


@dataclass(frozen=True, slots=True, kw_only=True)
class _Runner:
    """A live runner as the zygote sees it."""

    pid: int
    """Process id."""
    requests: int
    """Write end of its pipe of requests."""
    replies: int
    """Read end of its pipe of replies."""
    limits: frames.Limits
    """What its programs may use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    """What came back from a runner for one program."""

    mark: bytes = b""
    """`runner.KEEP`, `runner.RETIRE`, or empty if it died before it had compiled the program."""
    body: bytes | None = None
    """The reply, or None if none came whole."""
    late: bool = False
    """True if the time limit passed."""


def main(
    *, channel: int, in_force: dict[str, str], preload: list[str], libraries: list[str]
) -> None:
    """Serve the socket `channel` until it ends.

    The first frame says what protects this machine from the programs: lines of `name=state`.
    """
    zygote = Zygote(channel=channel, in_force=in_force, preload=preload, libraries=libraries)
    state = "\n".join(f"{name}={state}" for name, state in zygote.in_force.items())
    frames.write_all(channel, frames.encode(state.encode()))
    while (body := frames.read_frame(channel)) is not None:
        request = frames.Request.unpack(body)
        reply = zygote.answer(request, body)
        frames.write_all(channel, frames.encode(reply.pack(request.id)))
    zygote.dismiss()


class Zygote:
    """Forks runners, one at a time, and answers one request at a time."""

    def __init__(
        self, *, channel: int, in_force: dict[str, str], preload: list[str], libraries: list[str]
    ) -> None:
        self._channel = channel
        self._runner: _Runner | None = None
        sys.path += libraries
        _preload(preload)
        self._readable = [folder for folder in sys.path if folder]
        self._bare_bytes = lockdown.address_space()
        self.in_force = in_force | lockdown.lock_zygote(self._readable)
        gc.collect()
        gc.freeze()

    def answer(self, request: frames.Request, body: bytes) -> frames.Reply:
        """The reply to one request, from a runner or about its death."""
        for _ in range(2):
            now = self._runner_for(request.limits)
            if now is None:
                break
            heard = self._ask(now, request, body)
            if heard.body is not None:
                if heard.mark != runner.KEEP:
                    self.dismiss()
                return self._checked(request.id, heard.body)
            status = self.dismiss()
            if heard.late:
                return frames.Reply(status=Status.TIME_LIMIT)
            # Else it was gone before it saw this program, or before any line of it ran.
            if heard.mark or status not in (_RETIRED, signal.SIGKILL):
                return _obituary(status)
        return frames.Reply(status=Status.WORKER_LOST, detail="no runner starts")

    def dismiss(self) -> int:
        """Kill the runner if there is one; returns its wait status."""
        if self._runner is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._runner.pid, signal.SIGKILL)
        _, status = os.waitpid(self._runner.pid, 0)
        os.close(self._runner.requests)
        os.close(self._runner.replies)
        self._runner = None
        return status

    def _checked(self, job: int, body: bytes) -> frames.Reply:
        """The runner's reply; one out of form, or to another request, is no verdict."""
        try:
            answered, reply = frames.Reply.unpack(body)
        except ValueError as error:
            answered, reply = job, frames.Reply(status=Status.WORKER_LOST, detail=str(error))
        if answered != job or reply.status is Status.WORKER_LOST:
            self.dismiss()
            return frames.Reply(status=Status.WORKER_LOST, detail="the runner spoke nonsense")
        return reply

    def _runner_for(self, limits: frames.Limits) -> _Runner | None:
        """A runner that is locked and ready; None where none can be had."""
        if self._runner is not None and self._runner.limits == limits:
            return self._runner
        self.dismiss()
        self._runner = self._fork(limits)
        deadline = time.monotonic() + _START_S
        if self._hear(self._runner.replies, deadline, most=1) == runner.READY:
            return self._runner
        self.dismiss()
        return None

    def _fork(self, limits: frames.Limits) -> _Runner:
        requests_end, requests = os.pipe()
        replies, replies_end = os.pipe()
        zygote = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                for fd in (self._channel, requests, replies):
                    os.close(fd)
                lockdown.lock_runner(
                    parent=zygote,
                    in_force=self.in_force,
                    memory_bytes=self._bare_bytes + limits.memory_bytes,
                    cpu_seconds=2 * math.ceil(limits.wall_s) + 1,
                )
                runner.serve(requests=requests_end, replies=replies_end, readable=self._readable)
            except MemoryError:
                os._exit(_OUT_OF_MEMORY)
            finally:
                os._exit(_RETIRED)
        os.close(requests_end)
        os.close(replies_end)
        return _Runner(pid=pid, requests=requests, replies=replies, limits=limits)

    def _ask(self, asked: _Runner, request: frames.Request, body: bytes) -> _Heard:
        deadline = time.monotonic() + request.limits.wall_s
        try:
            frames.write_all(asked.requests, frames.encode(body))
        except BrokenPipeError:
            return _Heard()
        reader, mark = frames.FrameReader(), b""
        while (data := self._hear(asked.replies, deadline)) is not None:
            if not data:
                return _Heard(mark=mark)
            if not mark:
                mark, data = data[:1], data[1:]
            try:
                bodies = reader.feed(data)
            except ValueError:
                bodies = [b""]  # out of form
            if bodies:
                return _Heard(mark=mark, body=bodies[0])
        return _Heard(mark=mark, late=True)

    def _hear(self, replies: int, deadline: float, *, most: int = _READ) -> bytes | None:
        """Bytes of the runner, empty at its end, None past the deadline; exits with the trainer."""
        poll = select.poll()
        poll.register(replies, select.POLLIN)
        poll.register(self._channel, 0)  # only its end
        ready = dict(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
        if self._channel in ready:
            self.dismiss()
            sys.exit()
        return os.read(replies, most) if ready else None


def _preload(libraries: list[str]) -> None:
    """Import what programs may use, so that a runner finds it there and reads no file."""
    warnings.simplefilter("ignore")
    chance.replace_entropy()
    for name in sorted(guards.ALLOWED_MODULES - _LIBRARIES):
        importlib.import_module(name)
    importlib.import_module("_strptime")  # datetime does so at the first strptime()
    for name in libraries:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    if "sympy" in sys.modules:
        _warm_up(sys.modules["sympy"])
    time.tzset()  # reads the time zone while files can still be read
    chance.freeze_clock()


def _warm_up(sympy: Any) -> None:
    """Solve what programs solve: a runner inherits the filled caches and late imports (7x)."""
    x, y = sympy.symbols("x y")
    sympy.solve(sympy.Eq(2 * x + 3, 11), x, dict=True)
    sympy.solve([sympy.Eq(x + y, 3), sympy.Eq(x - y, 1)], [x, y], dict=True)
    sympy.solve(x**2 - sympy.Rational(5, 2) * x + 1, x)
    float((x / 3).subs(x, 1.5))


def _obituary(status: int) -> frames.Reply:
    """What the end of a runner in the middle of a program says of the program."""
    other = len(EXCEPTIONS)  # no exception was seen
    if not os.WIFSIGNALED(status):
        code = os.waitstatus_to_exitcode(status)
        if code == _OUT_OF_MEMORY:
            return frames.Reply(status=Status.MEMORY_LIMIT, detail="MemoryError")
        return frames.Reply(status=Status.RUNTIME_ERROR, exc=other, detail=f"exit {code}")
    number = os.WTERMSIG(status)
    if number == signal.SIGKILL:  # not by us: the machine is out of memory, or a person did it
        return frames.Reply(status=Status.WORKER_LOST, detail="the runner was killed")
    if number == signal.SIGXCPU:
        return frames.Reply(status=Status.TIME_LIMIT)
    name = signal.Signals(number).name
    return frames.Reply(status=Status.RUNTIME_ERROR, exc=other, detail=name)
