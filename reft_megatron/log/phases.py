"""The phases of an iteration: a bar while one runs, time and speed after.

Owns the stopwatch and the bar. A phase is timed by the clock on the wall: a caller on a GPU ends it
with a result on the host (a mean, a list of tokens), not with work still queued on the device.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from reft_megatron.log.metrics import GLOSSARY, check_names

__all__ = ["Phase", "Phases"]


class Phase:
    """One running phase; the caller tells it what has been done."""

    def __init__(self, progress: Progress, name: str, *, total: int | None, unit: str) -> None:
        """Show `name` on `progress`; `total` None says that the end is not known beforehand."""
        self.unit = unit
        """What is counted: tokens, completions, problems, ..."""
        self.count = 0
        """How much has been done so far."""
        self._progress = progress
        self._task = progress.add_task(name, total=total, unit=unit)

    def advance(self, count: int) -> None:
        """Count `count` more units as done."""
        self.count += count
        self._progress.advance(self._task, count)


class Phases:
    """The stopwatch of a run: seconds and tokens per phase since it was last read."""

    def __init__(self, console: Console, *, visible: bool) -> None:
        """Draw on `console` where it is a terminal and `visible`; measure in any case."""
        self._console = console
        self._hidden = not (visible and console.is_interactive)
        self._seconds: dict[str, float] = {}
        self._tokens: dict[str, int] = {}
        self._since = time.perf_counter()

    @contextmanager
    def phase(self, name: str, total: int | None, unit: str) -> Iterator[Phase]:
        """Time what happens inside and show its progress; the finished bar stays as one line.

        Raises KeyError if `time/<name>` (and, where tokens are counted, its speed) is no metric.
        """
        check_names([f"time/{name}", *([_speed(name)] if unit == "tokens" else [])])
        start = time.perf_counter()
        with Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            _Rate(),
            TimeElapsedColumn(),
            console=self._console,
            disable=self._hidden,
        ) as progress:
            phase = Phase(progress, name, total=total, unit=unit)
            try:
                yield phase
            finally:
                self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - start
                if unit == "tokens":
                    self._tokens[name] = self._tokens.get(name, 0) + phase.count

    def timings(self) -> dict[str, float]:
        """`time/*` and `speed/*` since the last call (or the beginning), in glossary order.

        A phase that ran several times is summed; `time/iteration` is the whole time in between.
        """
        now = time.perf_counter()
        found = {f"time/{name}": seconds for name, seconds in self._seconds.items()}
        found["time/iteration"] = now - self._since
        if "reward" in self._seconds:
            found["speed/reward_share"] = self._seconds["reward"] / found["time/iteration"]
        found |= {_speed(name): n / self._seconds[name] for name, n in self._tokens.items()}
        self._seconds, self._tokens, self._since = {}, {}, now
        return {name: found[name] for name in GLOSSARY if name in found}


def _speed(name: str) -> str:
    return f"speed/{name}_tokens_per_s"


class _Rate(ProgressColumn):
    """`1,234/5,000 tokens  812 tokens/s`."""

    def render(self, task: Task) -> Text:
        unit = task.fields["unit"]
        total = "" if task.total is None else f"/{task.total:,.0f}"
        speed = task.finished_speed or task.speed
        rate = "" if speed is None else f"  {speed:,.0f} {unit}/s"
        return Text(f"{task.completed:,.0f}{total} {unit}{rate}")
