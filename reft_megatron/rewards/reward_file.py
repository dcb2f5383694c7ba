"""The reward of a custom task: a function of the user's, in our processes.

Owns those processes: who gets which completion, what becomes of one that dies or is late. It is
killed with all it started and replaced; its completion, like one whose call raised or returned no
verdict, is tried once more, and then is an executor fault, which has no reward.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from multiprocessing.connection import Pipe, wait
from pathlib import Path
from typing import Any

from reft_megatron.closing import Closing
from reft_megatron.config import RewardConfig
from reft_megatron.errors import ConfigError
from reft_megatron.types import Problem, Reason, Verdict

__all__ = ["RewardFile"]

_START_S = 120.0
_ATTEMPTS = 2


class RewardFile(Closing):
    """Judges with `reward(problem, completion)` of a file; a context manager.

    At most `rewards.workers` processes, which start with the first completions and end with
    `close`, or with this process however it ends.
    """

    def __init__(self, path: str, *, config: RewardConfig) -> None:
        """Starts nothing yet: `start` or the first `check` meets what is wrong with the file."""
        # Absolute, as tracebacks name it: whatever the folder of this process becomes.
        self._path, self._config = Path(path).absolute(), config
        self._workers: list[_Worker] = []
        self._counts = dict.fromkeys(("completions", "faults", "respawns"), 0)

    @property
    def partial(self) -> float:
        """Reward of `wrong(...)`."""
        return self._config.partial

    def start(self, count: int = 1) -> None:
        """Have `count` processes that have loaded the file, in the place of any that have ended.

        Raises ConfigError if it cannot be loaded, or has no function `reward` of two arguments.
        """
        for worker in [worker for worker in self._workers if worker.ended]:
            self._drop(worker)
        while len(self._workers) < count:
            self._workers.append(_Worker(self._path, self._config.timeout_s))
        for worker in self._workers:
            if complaint := worker.loading():
                self.close()
                raise ConfigError(f"task.reward={self._path}: {complaint}.")

    def check(self, answers: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """One verdict per (problem, completion), in order, whatever order they end in.

        What raises, returns no verdict, dies or takes longer than `rewards.timeout_s` is tried
        twice and then an executor fault, whose detail says what happened. Raises ConfigError if
        the file can no longer be loaded.
        """
        verdicts: dict[int, Verdict] = {}
        queue, tried = deque(range(len(answers))), Counter[int]()
        while len(verdicts) < len(answers):
            busy = sum(worker.job is not None for worker in self._workers)
            self.start(min(self._config.workers, len(queue) + busy))
            for worker in self._workers:
                if worker.job is None and queue:
                    job = queue.popleft()
                    worker.send(job, *answers[job])
            for job, reply in self._replies():
                tried[job] += 1
                if "verdict" in reply:
                    verdicts[job] = _verdict(reply["verdict"])
                elif tried[job] < _ATTEMPTS:
                    queue.appendleft(job)
                else:
                    self._counts["faults"] += 1
                    verdicts[job] = Verdict(reason=Reason.EXECUTOR_FAULT, detail=reply["fault"])
        self._counts["completions"] += len(answers)
        return [verdicts[job] for job in range(len(answers))]

    def stats(self) -> dict[str, Any]:
        """Completions judged, faults among them, processes replaced."""
        return dict(self._counts)

    def close(self) -> None:
        """End the processes; safe to repeat, and a later check starts new ones."""
        for worker in self._workers:
            worker.kill()
        self._workers.clear()

    def _replies(self) -> list[tuple[int, dict[str, Any]]]:
        """(job, reply) of those that have ended; waits for one, or for the first to be late."""
        busy = [worker for worker in self._workers if worker.job is not None]
        alarm = min(worker.since for worker in busy) + self._config.timeout_s
        wait([worker.connection for worker in busy], max(0.0, alarm - time.monotonic()))
        found = []
        for worker in busy:
            job, reply = worker.job, worker.reply()
            if job is None or reply is None:
                continue
            if worker.job is not None:  # dead or late
                self._drop(worker)
            found.append((job, reply))
        return found

    def _drop(self, worker: _Worker) -> None:
        worker.kill()
        self._workers.remove(worker)
        self._counts["respawns"] += 1


class _Worker:
    """One process. `job` is the completion that it has, None if it is idle."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self.connection, theirs = Pipe()
        _limit(self.connection.fileno(), timeout_s)
        module = "reft_megatron.rewards.reward_process"
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(path), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.PIPE,  # closed by the kernel if this process is killed
                stdout=2,  # what user code prints must not stand among the run's own lines
                start_new_session=True,
            )
        self._loaded = False
        self.job: int | None = None
        self.since = time.monotonic()

    @property
    def ended(self) -> bool:
        """True if it has ended since its last reply; one that is idle has nothing to say."""
        return self._loaded and self.job is None and self.connection.poll()

    def loading(self) -> str:
        """What is wrong with the file, or nothing; waits until it is loaded."""
        if self._loaded:
            return ""
        if not self.connection.poll(_START_S):
            return f"it is not loaded after {_START_S:.0f} s"
        try:
            told = json.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            return f"the process that loaded it {self._ended()}"
        self._loaded = not told
        return str(told.get("error", ""))

    def send(self, job: int, problem: Problem, completion: str) -> None:
        self.job, self.since = job, time.monotonic()
        asked = {"problem": dataclasses.asdict(problem), "completion": completion}
        with contextlib.suppress(OSError):  # it died or does not read, which `reply` finds out
            self.connection.send_bytes(json.dumps(asked, default=str).encode())

    def reply(self) -> dict[str, Any] | None:
        """The reply, or a fault if there will be none, or None if it is still at work."""
        if self.connection.poll():
            try:
                told: dict[str, Any] = json.loads(self.connection.recv_bytes())
            except (EOFError, OSError):
                return {"fault": f"the process {self._ended()}"}
            self.job = None
            return told
        if time.monotonic() > self.since + self._timeout_s:
            return {"fault": f"it took more than rewards.timeout_s={self._timeout_s:g}"}
        return None

    def kill(self) -> None:
        """End it and all it started, and reap it; safe to repeat."""
        if self._process.returncode is None:  # from then on its number may be another's
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self.connection.close()

    def _ended(self) -> str:
        """How it has ended; one that has closed its end of the pipe and goes on is ended now."""
        self.kill()
        code = self._process.returncode
        return f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"


def _limit(descriptor: int, seconds: float) -> None:
    """Have reading and writing of a socket fail once the other end is silent for so long."""
    span = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
    with socket.socket(fileno=os.dup(descriptor)) as same:
        for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            same.setsockopt(socket.SOL_SOCKET, direction, span)


def _verdict(fields: dict[str, Any]) -> Verdict:
    return Verdict(**{**fields, "reason": Reason(fields["reason"])})
