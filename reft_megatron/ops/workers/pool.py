"""Runs model programs in a few isolated worker processes.

Owns scheduling: which worker gets which program, what happens when one dies or is late, when a
worker is replaced. No signals, no alarms: the caller's thread waits on sockets. A worker that dies
or does not answer is killed with all it started and replaced; the program it was busy with is tried
once more, the others it held go back to the queue; a second death is a fault, never a verdict.
"""

from __future__ import annotations

import os
import selectors
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from reft_megatron.closing import Closing
from reft_megatron.errors import TrainingError
from reft_megatron.ops.status import Status, exception_number
from reft_megatron.ops.workers.isolated.frames import ENTRIES, Limits, Reply, Request
from reft_megatron.ops.workers.process import LIBRARIES, WorkerProcess, parse_ready

__all__ = ["WorkerPool"]

Lane = Literal["plain", "libraries"]

_AHEAD = 2
_AHEAD_BYTES = 1 << 16  # fits a socket's buffer, so sending never waits for a busy worker
_JOBS_PER_WORKER = 10_000
_START_S = 60.0
_FAILED_STARTS = 10
_ATTEMPTS = 2
_GRACE_S = 1.0  # the worker enforces the time limit itself; past this it is taken for dead


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One program on its way."""

    body: bytes
    """The request, encoded."""
    lane: Lane
    """Which kind of worker runs it."""


class WorkerPool(Closing):
    """At most `workers` isolated processes, and as many again once a program needs a library.

    They start when the first program comes and end with `close`, or with this process however it
    ends. Threads may share a pool: their calls take turns. In a process forked from this one it
    starts workers of its own.
    """

    def __init__(
        self,
        *,
        workers: int = 2,
        wall_s: float = 2.0,
        memory_bytes: int = 512 << 20,
        output_bytes: int = 1 << 16,
        seed: int = 0,
        python: str = sys.executable,
    ) -> None:
        """`wall_s`, `memory_bytes` (on top of the bare worker's) and `output_bytes` are the limits
        of one program; `seed` and a program's text decide what it draws by chance; `python` is the
        interpreter of the workers.
        """
        self._limits = Limits(wall_s=wall_s, memory_bytes=memory_bytes, output_bytes=output_bytes)
        self._workers_wanted, self._seed, self._python = workers, seed, python
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._selector = selectors.PollSelector()  # holds no descriptor of its own
        self._workers: dict[Lane, list[WorkerProcess]] = {"plain": [], "libraries": []}
        self._jobs: dict[int, _Job] = {}
        self._queues: dict[Lane, deque[int]] = {"plain": deque(), "libraries": deque()}
        self._deaths: Counter[int] = Counter()
        self._replies: dict[int, Reply] = {}
        self._next_job = 1
        self._failed_starts = 0
        self._programs = self._respawns = self._faults = 0
        self._isolation: dict[str, str] = {}

    def run(
        self,
        programs: Sequence[str],
        *,
        want_text: bool = False,
        split_namespaces: bool = False,
        entry: str = "solution",
        deadline_s: float | None = None,
    ) -> list[Reply]:
        """Run each program; replies in the order of `programs`.

        `want_text` asks for the start of str() of the answer instead of its float(); `entry` is one
        of `ENTRIES`; `split_namespaces` executes the text with globals and locals apart, as the
        reference does. What has not ended `deadline_s` seconds from now is CANCELLED. Nothing about
        a program raises. Raises TrainingError if workers no longer start, ValueError for an
        unknown entry.
        """
        if entry not in ENTRIES:
            raise ValueError(f"entry is one of {', '.join(ENTRIES)}, saw {entry}.")
        deadline = float("inf") if deadline_s is None else time.monotonic() + deadline_s
        with self._own_lock():
            first = self._next_job
            for source in programs:
                request = Request(
                    id=self._next_job,
                    source=source,
                    limits=self._limits,
                    seed=self._seed,
                    entry=entry,
                    want_text=want_text,
                    split_namespaces=split_namespaces,
                )
                self._enqueue(request)
            try:
                self._work(len(programs), deadline)
            except BaseException:
                self._end()  # answers still under way must not meet the next call
                raise
            replies = [self._replies[job] for job in range(first, self._next_job)]
            self._replies.clear()
            self._deaths.clear()
            return replies

    def stats(self) -> dict[str, object]:
        """Numbers since the start: `programs` run, workers respawned because they died or hung
        (`respawns`), programs given up as WORKER_LOST (`faults`); and `isolation`: what protects
        the machine from the programs, by name, `on`, or `off: ` and why (empty before the first).
        """
        return {
            "programs": self._programs,
            "respawns": self._respawns,
            "faults": self._faults,
            "isolation": dict(self._isolation),
        }

    def close(self) -> None:
        """End all worker processes; safe to repeat. A later `run` starts fresh ones."""
        with self._own_lock():
            self._end()

    def _work(self, count: int, deadline: float) -> None:
        """Until there are `count` replies."""
        while len(self._replies) < count:
            self._dispatch()
            self._collect(deadline)
            self._replace_late()
            if time.monotonic() > deadline:
                self._cancel()

    def _enqueue(self, request: Request) -> None:
        self._next_job += 1
        self._programs += 1
        refused = Reply(status=Status.INPUT_LIMIT)
        try:
            body = request.pack()
        except UnicodeEncodeError:  # a lone surrogate, which CPython does not compile either
            number = exception_number(UnicodeEncodeError)
            refused = Reply(
                status=Status.SYNTAX_ERROR, exc=number, detail=UnicodeEncodeError.__name__
            )
            body = b""
        except ValueError:
            body = b""
        if not body:
            self._replies[request.id] = refused
            return
        lane: Lane = "libraries" if any(name in request.source for name in LIBRARIES) else "plain"
        self._jobs[request.id] = _Job(body=body, lane=lane)
        self._queues[lane].append(request.id)

    def _dispatch(self) -> None:
        for lane, queue in self._queues.items():
            self._start_workers(lane, min(self._workers_wanted, len(queue)))
            # Work is sent ahead only while there is plenty, lest the last programs of a batch wait
            # behind a hung one while other workers are idle.
            depths = min(_AHEAD, 1 + len(queue) // (2 * self._workers_wanted))
            for depth in range(1, depths + 1):
                for worker in list(self._workers[lane]):
                    if queue and worker.ready and len(worker.jobs) < depth:
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

    def _collect(self, deadline: float) -> None:
        alarms = [self._alarm(worker) for worker in self._all()]
        if not self._jobs or not alarms:
            return
        patience = min(deadline, *alarms) - time.monotonic()
        for key, _ in self._selector.select(max(0.0, min(patience, _START_S))):
            worker: WorkerProcess = key.data
            try:
                for body in worker.receive():
                    self._accept(worker, body)
            except (ConnectionError, ValueError) as error:
                self._bury(worker, str(error))

    def _accept(self, worker: WorkerProcess, body: bytes) -> None:
        if not worker.ready:
            self._isolation.update(parse_ready(body))
            worker.ready = True
            self._failed_starts = 0
            return
        job, reply = Reply.unpack(body)
        if not worker.jobs or worker.jobs[0] != job:
            raise ValueError(f"the worker answered job {job} out of turn")
        worker.jobs.popleft()
        worker.since = time.monotonic()
        if reply.status is Status.WORKER_LOST:  # its runner died, and it lives
            self._blame(job, reply.detail)
        else:
            self._replies[job] = reply
            del self._jobs[job]

    def _replace_late(self) -> None:
        now = time.monotonic()
        for worker in self._all():
            if now > self._alarm(worker):
                self._bury(worker, "the worker overran its time limit")

    def _alarm(self, worker: WorkerProcess) -> float:
        """`time.monotonic()` past which a worker is taken for dead."""
        if not worker.ready:
            return worker.since + _START_S
        return worker.since + self._limits.wall_s + _GRACE_S if worker.jobs else float("inf")

    def _bury(self, worker: WorkerProcess, cause: str) -> None:
        """Do away with a dead or hung worker; only the oldest of its jobs can be to blame."""
        self._discard(worker)
        self._failed_starts += not worker.ready
        self._respawns += worker.ready
        for job in list(worker.jobs)[:0:-1]:
            self._queues[self._jobs[job].lane].appendleft(job)
        if worker.jobs:
            self._blame(worker.jobs[0], cause)

    def _blame(self, job: int, cause: str) -> None:
        """Try a program again whose worker or runner died, but not for ever."""
        self._deaths[job] += 1
        if self._deaths[job] < _ATTEMPTS:
            self._queues[self._jobs[job].lane].appendleft(job)
            return
        del self._jobs[job]
        self._faults += 1
        self._replies[job] = Reply(status=Status.WORKER_LOST, detail=cause)

    def _cancel(self) -> None:
        """Answer all that is left with CANCELLED; busy workers are ended."""
        for worker in self._all():
            if worker.jobs:
                self._discard(worker)
        for job in self._jobs:
            self._replies[job] = Reply(status=Status.CANCELLED)
        self._forget_jobs()

    def _start_workers(self, lane: Lane, count: int) -> None:
        """Have `count` workers in a lane, some perhaps still starting."""
        workers = self._workers[lane]
        failure = "they end before they are ready"
        while len(workers) < count and self._failed_starts < _FAILED_STARTS:
            try:
                preload = LIBRARIES if lane == "libraries" else ()
                worker = WorkerProcess(python=self._python, preload=preload)
            except OSError as error:  # what the machine has too little of; those there are of use
                if workers:
                    return
                self._failed_starts += 1
                failure = str(error)
                continue
            self._selector.register(worker, selectors.EVENT_READ, worker)
            workers.append(worker)
        if self._failed_starts >= _FAILED_STARTS:
            raise TrainingError(
                f"Workers that check programs did not start in {_FAILED_STARTS} attempts: "
                f"{failure}; see that this machine has processes, memory and descriptors to spare."
            )

    def _discard(self, worker: WorkerProcess) -> None:
        self._remove(worker)
        worker.kill()

    def _remove(self, worker: WorkerProcess) -> None:
        self._selector.unregister(worker)
        for workers in self._workers.values():
            if worker in workers:
                workers.remove(worker)

    def _all(self) -> list[WorkerProcess]:
        return [worker for workers in self._workers.values() for worker in workers]

    def _end(self) -> None:
        for worker in self._all():
            self._discard(worker)
        self._replies.clear()
        self._deaths.clear()
        self._forget_jobs()
        self._failed_starts = 0

    def _forget_jobs(self) -> None:
        for queue in self._queues.values():
            queue.clear()
        self._jobs.clear()

    def _own_lock(self) -> threading.Lock:
        """The lock; in a process forked from the owner a new one, and no workers: those, and a
        lock that may be held for ever, are the owner's.
        """
        if self._owner != os.getpid():
            self._owner, self._lock = os.getpid(), threading.Lock()
            for worker in self._all():
                self._remove(worker)
                worker.disown()
            self._replies.clear()
            self._forget_jobs()
        return self._lock
