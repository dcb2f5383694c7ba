"""Answers of model-written programs and texts, a batch at a time.

Owns the choice of who runs a program: the C++ core (`reft_megatron._extractor`: threads, no GIL, no
process) or, for what the core does not know, isolated CPython workers. Nothing about a program
raises; how it ended is its `Status`.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from reft_megatron import _extractor
from reft_megatron.closing import Closing
from reft_megatron.ops.results import Gold, Results, Route, flatten
from reft_megatron.ops.status import Status
from reft_megatron.ops.workers import WorkerPool

__all__ = [
    "REFERENCE_LIMITS",
    "TRIGGER",
    "Extractor",
    "Handle",
    "Limits",
    "Results",
    "Route",
    "Status",
    "extract_answers",
]

TRIGGER = "\nTherefore, the answer is: "
"""What stands before the answer in a text in ReFT's form."""

Kind = Literal["number", "letter"]
Choice = TypeVar("Choice")

_COMPATS = {"python": 0, "reft": 1}
_ENTRIES = {"solution": 0, "ans": 1, "answer": 2, "stdout": 3, "last_expr": 4}
_MODES = {"reft": False, "lenient": True}
_ISOLATIONS = {"thread": False, "process": True}
# What a process of isolation "process" says of itself (csrc/extractor/batch/frames.hpp).
_PROTECTIONS = ("parent_death", "descriptors", "rlimits", "no_new_privileges", "seccomp")
_SECONDS_PER_STEP = 1e-7  # of the slowest machine: when a process is taken for hung
_COUNTED = ("batches", "programs", "duplicates", "by_fallback", "texts")
_FOREVER = 1e9

# Forking takes it, so that no child finds it locked by a thread it lacks.
_counting = threading.Lock()
os.register_at_fork(
    before=_counting.acquire, after_in_parent=_counting.release, after_in_child=_counting.release
)


class Limits(NamedTuple):
    """What one program may use."""

    max_source_bytes: int = 65_536
    """Its own length."""
    max_steps: int = 1_000_000
    """About one for each instruction, and in proportion to what builtins do: some 20 ms."""
    max_memory_bytes: int = 32 << 20
    """What it holds in the core, garbage not yet collected included."""
    max_int_bits: int = 1 << 20
    """Longest integer; refused before it is computed."""
    max_str_bytes: int = 1 << 20
    """Longest string."""
    max_items: int = 1_000_000
    """Largest container."""
    max_frames: int = 1_000
    """Depth of calls; RecursionError beyond, as in CPython. At most 1,000."""
    max_nesting: int = 200
    """Depth of brackets. At most 200, as in CPython."""
    max_output_bytes: int = 65_536
    """What it prints; counted, not kept."""
    wall_s: float = 2.0
    """Seconds in a worker."""
    worker_memory_bytes: int = 512 << 20
    """What it allocates in a worker, on top of the bare interpreter."""


REFERENCE_LIMITS = Limits(max_steps=500_000_000, wall_s=10.0)
"""Limits that end no program that the reference's ten seconds do not end."""


_OF_CORE = frozenset(name for name in Limits._fields if name.startswith("max_"))


class Fallback(Protocol):
    """Runs the programs that the core does not know: `WorkerPool.run`, or a function like it."""

    def __call__(
        self,
        programs: Sequence[str],
        *,
        want_text: bool,
        split_namespaces: bool,
        entry: str,
        deadline_s: float | None,
    ) -> Sequence[tuple[int, int, float, str, str]]:
        """(status, number of the exception, value, text, detail) of each program."""


class Handle:
    """A batch under way (`Extractor.submit`)."""

    def __init__(self, batch: _extractor.Batch, finish: Callable[[], Results]) -> None:
        self._batch = batch
        self._finish = finish
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._results: Results | None = None

    def done(self) -> bool:
        """True once the core is through; workers may still be needed, and `result` runs them."""
        return self._results is not None or self._batch.done()

    def cancel(self) -> None:
        """Give up the rows that have not been run: their status becomes CANCELLED."""
        self._batch.cancel()

    def result(self, timeout: float | None = None) -> Results:
        """Wait for the outcomes; raises TimeoutError when `timeout` seconds have passed."""
        if os.getpid() != self._owner:  # a forked child: nobody here holds the lock
            self._lock, self._owner = threading.Lock(), os.getpid()
        patience = _FOREVER if timeout is None else max(0.0, timeout)
        end = time.monotonic() + patience
        if not self._lock.acquire(timeout=min(patience, threading.TIMEOUT_MAX)):
            raise TimeoutError(f"the batch is not done after {timeout} s.")
        try:
            if self._results is None:
                if not self._batch.wait(max(0.0, end - time.monotonic())):
                    raise TimeoutError(f"the batch is not done after {timeout} s.")
                self._results = self._finish()
            return self._results
        finally:
            self._lock.release()


class Extractor(Closing):
    """Runs batches of programs and reads batches of texts. Several threads may use one at once.

    Threads and workers start when they are first needed. A forked child starts its own.
    """

    def __init__(
        self,
        *,
        threads: int = 0,
        limits: Limits | None = None,
        compat: Literal["python", "reft"] = "python",
        entry: Literal["solution", "ans", "answer", "stdout", "last_expr"] = "solution",
        strip_fences: bool = False,
        dedup: bool = True,
        fallback: Literal["worker", "none"] | Fallback = "worker",
        workers: int = 2,
        worker_python: str = sys.executable,
        isolation: Literal["thread", "process"] = "thread",
    ) -> None:
        """`threads` 0: one for each CPU this process may use.

        `compat` "python" runs a program as one module, "reft" cuts and runs it as the reference
        does. `entry` says what the answer is: what `solution()` returns, a variable, what is
        printed, or the value of the last line. `isolation` "process" runs the core in one locked
        process for each thread. Raises ValueError for a setting out of range.
        """
        self.limits = _checked(Limits() if limits is None else limits)
        """What one program may use."""
        self.threads = threads or len(os.sched_getaffinity(0))
        """How many threads there are at most."""
        core = {name: limit for name, limit in self.limits._asdict().items() if name in _OF_CORE}
        core["compat"] = _choice("compat", compat, _COMPATS)
        core["entry"] = _choice("entry", entry, _ENTRIES)
        core["strip_fences"] = strip_fences
        self._engine = _extractor.Engine(self.threads, dedup, core)
        if _choice("isolation", isolation, _ISOLATIONS):
            patience = self.limits.wall_s + self.limits.max_steps * _SECONDS_PER_STEP
            self._engine.isolate(worker_python, _extractor.__file__, patience)
        self._workers = WorkerPool(
            workers=workers,
            wall_s=self.limits.wall_s,
            memory_bytes=self.limits.worker_memory_bytes,
            output_bytes=self.limits.max_output_bytes,
            python=worker_python,
        )
        self._fallback: Fallback | None
        if callable(fallback):
            self._fallback = fallback
        else:
            pick = {"worker": self._workers.run, "none": None}
            self._fallback = _choice("fallback", fallback, pick)
        self._how: dict[str, Any] = {"entry": entry, "split_namespaces": compat == "reft"}
        self._counts = dict.fromkeys(_COUNTED, 0)

    def run(
        self,
        programs: Any,
        *,
        gold: Any = None,
        tol: float = 1e-2,
        kind: Kind = "number",
        want_text: bool = False,
        deadline_s: float | None = None,
        strict: bool = False,
    ) -> Results:
        """Run a list, tuple, array or nest of programs (str, or bytes of UTF-8).

        `gold` broadcasts to the shape of the nest: numbers, right within `tol`, or with `kind`
        "letter" letters, compared as text. `want_text` keeps str(result) instead of float(result).
        After `deadline_s` the rows left have status CANCELLED. A row that is no text has status
        INTERNAL, or raises TypeError if `strict`. Raises ValueError for a ragged nest, or gold
        that does not fit.
        """
        rows, shape = flatten(programs)
        answers = _gold(gold, shape, tol=tol, kind=kind)
        want_text = want_text or kind == "letter"
        end = None if deadline_s is None else time.monotonic() + deadline_s
        batch = self._engine.run(rows, want_text, _seconds(deadline_s), strict, False)
        self._finish(batch, want_text=want_text, end=end)
        return Results(batch, shape, answers)

    def submit(
        self,
        programs: Any,
        *,
        gold: Any = None,
        tol: float = 1e-2,
        kind: Kind = "number",
        want_text: bool = False,
        deadline_s: float | None = None,
        strict: bool = False,
    ) -> Handle:
        """As `run`, without waiting: the threads work while the caller goes on."""
        rows, shape = flatten(programs)
        answers = _gold(gold, shape, tol=tol, kind=kind)
        want_text = want_text or kind == "letter"
        end = None if deadline_s is None else time.monotonic() + deadline_s
        batch = self._engine.run(rows, want_text, _seconds(deadline_s), strict, True)

        def finish() -> Results:
            self._finish(batch, want_text=want_text, end=end)
            return Results(batch, shape, answers)

        return Handle(batch, finish)

    def run_nl(
        self,
        texts: Any,
        *,
        trigger: str = TRIGGER,
        mode: Literal["reft", "lenient"] = "reft",
        gold: Any = None,
        tol: float = 1e-2,
        kind: Kind = "number",
        strict: bool = False,
    ) -> Results:
        """Read the answers of natural-language texts, in shapes as `run` takes them.

        "reft" wants the trigger before the answer; "lenient" takes the likeliest number.
        """
        rows, shape = flatten(texts)
        answers = _gold(gold, shape, tol=tol, kind=kind)
        lenient = _choice("mode", mode, _MODES)
        batch = self._engine.run_nl(rows, trigger, lenient, kind == "letter", strict)
        batch.forget_rows()
        self._count(batches=1, texts=len(batch))
        return Results(batch, shape, answers)

    def stats(self) -> dict[str, Any]:
        """Counts of what has been run, threads alive, what the processes of isolation "process"
        and the workers tell of themselves.
        """
        started, lost, bits = self._engine.processes()
        on = {name: bool(bits >> bit & 1) for bit, name in enumerate(_PROTECTIONS)}
        return {
            **self._counts,
            "threads": self._engine.alive(),
            "processes": {"started": started, "lost": lost, "isolation": on},
            "workers": self._workers.stats(),
        }

    def close(self) -> None:
        """End threads and workers; a later batch starts new ones."""
        self._engine.close()
        self._workers.close()

    def _finish(self, batch: _extractor.Batch, *, want_text: bool, end: float | None) -> None:
        moved = [] if self._fallback is None else batch.unsupported()
        if self._fallback is not None and moved:
            programs = [batch.program(row) for row in moved]
            if self._how["split_namespaces"]:
                programs = [program.replace("sys.exit", "print") for program in programs]
            left = None if end is None else max(0.0, end - time.monotonic())
            replies = self._fallback(programs, want_text=want_text, deadline_s=left, **self._how)
            for row, reply in zip(moved, replies, strict=True):
                batch.amend(row, *reply)
        batch.forget_rows()
        rows = len(batch)
        self._count(
            batches=1, programs=rows, duplicates=rows - batch.uniques(), by_fallback=len(moved)
        )

    def _count(self, **more: int) -> None:
        with _counting:
            for name, count in more.items():
                self._counts[name] += count


def extract_answers(programs: Any, **how: Any) -> Results:
    """`Extractor.run` on an extractor that the whole process shares, with default settings."""
    return _shared().run(programs, **how)


@cache
def _shared() -> Extractor:
    extractor = Extractor()
    atexit.register(extractor.close)
    return extractor


def _gold(gold: Any, shape: tuple[int, ...], *, tol: float, kind: Kind) -> Gold | None:
    if gold is None:
        return None
    answers = Gold(gold, tol=tol, kind=kind)
    answers.fit(shape)
    return answers


def _seconds(deadline_s: float | None) -> float:
    """Seconds as the core wants them: 0 is no deadline."""
    return 0.0 if deadline_s is None else max(deadline_s, 1e-9)


def _choice(name: str, value: str, choices: Mapping[str, Choice]) -> Choice:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; saw {value!r}.")
    return choices[value]


def _checked(limits: Limits) -> Limits:
    for name, limit in limits._asdict().items():
        whole = isinstance(limit, int) and 1 <= limit < 1 << 31
        if not (whole or (name == "wall_s" and limit > 0)):
            raise ValueError(f"{name} must be between 1 and 2**31 - 1, saw {limit!r}.")
    return limits
