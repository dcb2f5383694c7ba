"""Runs model programs in a few isolated worker processes.

Owns scheduling: which worker gets which program, what happens when one dies or is late, when a
worker is replaced. One thread, no signals, no alarms: the trainer waits on sockets. A worker that
dies or does not answer is killed with all it started and replaced; the program it was busy with is
tried once more, the others it held go back to the queue; a second death is an executor fault.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from reft_megatron.config import RewardConfig
from reft_megatron.errors import TrainingError
from reft_megatron.rewards.isolated import frames
from reft_megatron.rewards.outcome import Outcome, parse_report
from reft_megatron.rewards.worker_process import LIBRARIES, WorkerProcess
from reft_megatron.types import Reason

__all__ = ["WorkerPool"]

Lane = Literal["plain", "libraries"]

_AHEAD = 2
_AHEAD_BYTES = 1 << 16  # fits a socket's buffer, so sending never waits for a busy worker
_JOBS_PER_WORKER = 10_000
_START_ATTEMPTS = 3
_ATTEMPTS = 2
_GRACE_S = 5.0  # the worker enforces the time limit itself; past this it is taken for dead


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One program on its way."""

    body: bytes
    """The request, encoded."""
    lane: Lane
    """Which kind of worker runs it."""


class WorkerPool:
    """`config.workers` isolated processes, and as many again once a program needs a library.

    Workers die with the thread that made them, at the latest. Not for use by several threads.
    """

    def __init__(self, config: RewardConfig) -> None:
        """Start the workers; raises TrainingError if they do not come up."""
        self._config = config
        self._selector = selectors.PollSelector()  # holds no descriptor of its own
        self._workers: dict[Lane, list[WorkerProcess]] = {"plain": [], "libraries": []}
        self._jobs: dict[int, _Job] = {}
        self._queues: dict[Lane, deque[int]] = {"plain": deque(), "libraries": deque()}
        self._deaths: Counter[int] = Counter()
        self._outcomes: dict[int, Outcome] = {}
        self._next_job = 1
        self.programs = 0
        """Programs run so far."""
        self.respawns = 0
        """Workers replaced because they died or hung."""
        self.faults = 0
        """Programs given up as executor faults."""
        self.isolation: dict[str, str] = {}
        """What protects the machine from the programs, by name: `on`, or `off: ` and why."""
        self._ensure_workers("plain", config.workers)

    def run(
        self, sources: Sequence[str], *, want: Literal["number", "text"], split_namespaces: bool
    ) -> list[Outcome]:
        """Run each program; outcomes in the order of `sources`.

        `want` is the kind of value: `solution()` as float(), or the first 64 characters of its
        str(). Nothing about a program raises. Raises TrainingError if workers no longer start.
        """
        first = self._next_job
        for source in sources:
            self._enqueue(source, want=want, split_namespaces=split_namespaces)
        try:
            while len(self._outcomes) < len(sources):
                self._dispatch()
                self._collect()
                self._replace_late()
        except BaseException:
            self.close()  # answers still under way must not meet the next call
            raise
        outcomes = [self._outcomes[job] for job in range(first, self._next_job)]
        self._outcomes.clear()
        self._deaths.clear()
        return outcomes

    def close(self) -> None:
        """Kill all workers and forget all jobs; a later `run` starts fresh workers."""
        for workers in self._workers.values():
            for worker in list(workers):
                self._discard(worker)
        for queue in self._queues.values():
            queue.clear()
        self._jobs.clear()
        self._outcomes.clear()

    def _enqueue(self, source: str, *, want: str, split_namespaces: bool) -> None:
        request = {"source": source, "want": want, "split_namespaces": split_namespaces}
        body = json.dumps(request).encode()
        job, self._next_job = self._next_job, self._next_job + 1
        self.programs += 1
        if len(body) > frames.MAX_BODY:
            self._outcomes[job] = Outcome(failure=Reason.MEMORY, detail=f"{len(body)} bytes")
            return
        lane: Lane = "libraries" if any(name in source for name in LIBRARIES) else "plain"
        self._jobs[job] = _Job(body=body, lane=lane)
        self._queues[lane].append(job)

    def _dispatch(self) -> None:
        for lane, queue in self._queues.items():
            self._ensure_workers(lane, min(self._config.workers, len(queue)))
            # Work is sent ahead only while there is plenty, lest the last programs of a batch wait
            # behind a hung one while other workers are idle.
            for depth in range(1, min(_AHEAD, 1 + len(queue) // (2 * self._config.workers)) + 1):
                for worker in [w for w in self._workers[lane] if len(w.jobs) < depth]:
                    if queue:
                        self._send(worker, queue)

    def _send(self, worker: WorkerProcess, queue: deque[int]) -> None:
        if worker.sent >= _JOBS_PER_WORKER:
            if not worker.jobs:
                self._discard(worker)
            return
        body = self._jobs[queue[0]].body
        ahead = sum(len(self._jobs[job].body) for job in worker.jobs)
        if worker.jobs and ahead + len(body) > _AHEAD_BYTES:
            return
        try:
            worker.send(queue.popleft(), body)
        except ConnectionError as error:
            self._bury(worker, str(error))

    def _collect(self) -> None:
        busy = [worker for group in self._workers.values() for worker in group if worker.jobs]
        if not busy:
            return
        patience = min(worker.since for worker in busy) + self._limit_s - time.monotonic()
        for key, _ in self._selector.select(max(0.0, patience)):
            worker: WorkerProcess = key.data
            try:
                self._accept(worker, worker.receive())
            except (ConnectionError, ValueError) as error:
                self._bury(worker, str(error))

    def _accept(self, worker: WorkerProcess, replies: list[tuple[int, bytes]]) -> None:
        for job, body in replies:
            if not worker.jobs or worker.jobs[0] != job:
                raise ValueError(f"the worker answered job {job} out of turn")
            self._outcomes[worker.jobs.popleft()] = parse_report(body)
            del self._jobs[job]
            worker.since = time.monotonic()

    def _replace_late(self) -> None:
        now = time.monotonic()
        for workers in self._workers.values():
            for worker in list(workers):
                if worker.jobs and now > worker.since + self._limit_s:
                    self._bury(worker, "the worker overran its time limit")

    @property
    def _limit_s(self) -> float:
        return self._config.timeout_s + _GRACE_S

    def _bury(self, worker: WorkerProcess, cause: str) -> None:
        """Replace a dead or hung worker; only the oldest of its jobs can be to blame."""
        self._discard(worker)
        self.respawns += 1
        for job in reversed(worker.jobs):
            if job == worker.jobs[0]:
                self._deaths[job] += 1
            if self._deaths[job] < _ATTEMPTS:
                self._queues[self._jobs[job].lane].appendleft(job)
            else:
                del self._jobs[job]
                self.faults += 1
                self._outcomes[job] = Outcome(failure=Reason.EXECUTOR_FAULT, detail=cause)

    def _discard(self, worker: WorkerProcess) -> None:
        self._selector.unregister(worker)
        for workers in self._workers.values():
            if worker in workers:
                workers.remove(worker)
        worker.kill()

    def _ensure_workers(self, lane: Lane, count: int) -> None:
        missing = count - len(self._workers[lane])
        for _ in range(_START_ATTEMPTS):
            missing -= self._start(lane, missing)
            if missing <= 0:
                return
        self.close()
        raise TrainingError(
            f"{missing} of {count} workers that check programs did not start in {_START_ATTEMPTS} "
            "attempts; see that this machine has processes, memory and descriptors to spare."
        )

    def _start(self, lane: Lane, count: int) -> int:
        """Start `count` workers side by side; returns how many came up."""
        preload = LIBRARIES if lane == "libraries" else ()
        started = []
        # What the machine has too little of shows as an OSError; those that started are of use.
        with contextlib.suppress(OSError):
            for _ in range(count):
                started.append(WorkerProcess(config=self._config, preload=preload))
        ready = 0
        for worker in started:
            try:
                self.isolation.update(worker.await_ready())
            except (ConnectionError, ValueError):
                worker.kill()
                continue
            self._selector.register(worker, selectors.EVENT_READ, worker)
            self._workers[lane].append(worker)
            ready += 1
        return ready
