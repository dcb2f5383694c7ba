"""The journal: completions are safe as they finish, not when an iteration ends.

Owns a folder with small Arrow files of judged rollouts, each written whole to a temporary name, to
the disk, and renamed to a name that holds its checksum. They belong to one iteration of one run,
sampled with one seed by one version of its policy; anything else in the folder is of the past and
is dropped. Once the ledger has sealed the iteration, the journal goes.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import xxhash

from reft_megatron.closing import Closing
from reft_megatron.files import sync, write_whole
from reft_megatron.rollouts.disk import refused
from reft_megatron.rollouts.schema import from_table, to_table
from reft_megatron.types import Rollout

__all__ = ["Journal", "Recovered", "remove_journal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What an interrupted iteration left."""

    rollouts: list[Rollout]
    """Each (problem, sample) once, in the order of both."""
    dropped: list[str]
    """What could not be used, and why, one line each."""


class Journal(Closing):
    """The journal of one iteration, as one data rank writes it.

    A context manager that ends its thread. One process calls `recover` before any rank appends, and
    `remove_journal` when none will any more.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        origin: str,
        iteration: int,
        seed: int,
        policy_version: int,
        data_rank: int = 0,
        every: int = 64,
        seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Rollouts go to the disk once `every` of them or `seconds` have come together.

        `origin` tells the run from others that used its folder: a digest of what it began with.
        """
        self._root = Path(folder)
        self._folder = self._root / f"{iteration}-{seed}-{policy_version}-{origin}"
        self._what = (
            f"iteration {iteration}, seed {seed}, policy version {policy_version} of a run {origin}"
        )
        self._data_rank, self._every, self._seconds, self._clock = data_rank, every, seconds, clock
        self._waiting: list[Rollout] = []
        self._since = clock()
        self._parts = 0
        self._thread = ThreadPoolExecutor(1)  # so that sampling does not wait for the disk
        self._write: Future[None] | None = None

    def append(self, rollouts: Sequence[Rollout]) -> None:
        """Take judged rollouts; raises DataError if the disk refused earlier ones."""
        if not self._waiting:
            self._since = self._clock()
        self._waiting += rollouts
        full = len(self._waiting) >= self._every
        if full or self._clock() - self._since >= self._seconds:
            self._start_write()

    def flush(self) -> None:
        """Wait until all that was appended is on the disk; raises DataError if it refuses."""
        self._start_write()
        self._finish_write()

    def recover(self) -> Recovered:
        """All that any rank brought to the disk, and what had to be dropped."""
        dropped = []
        for path in sorted(self._root.glob("*")):
            if path != self._folder:
                dropped.append(f"dropped {path}: it is not of {self._what}")
                _delete(path)
        found: dict[tuple[str, int], Rollout] = {}
        for path in sorted(self._folder.glob("*")):
            rollouts = _read(path)
            if rollouts is None:
                dropped.append(f"dropped {path}: it is torn or altered")
                _delete(path)
            for rollout in rollouts or ():
                found[rollout.completion.problem_id, rollout.completion.sample] = rollout
        return Recovered(rollouts=[found[key] for key in sorted(found)], dropped=dropped)

    def close(self) -> None:
        """End the thread, once it has written what was given to it; what waits is lost."""
        self._thread.shutdown()

    def _start_write(self) -> None:
        self._finish_write()
        if self._waiting:
            self._write = self._thread.submit(self._write_part, self._waiting, self._parts)
            self._waiting = []
            self._parts += 1

    def _finish_write(self) -> None:
        if self._write is not None:
            write, self._write = self._write, None
            write.result()

    def _write_part(self, rollouts: list[Rollout], part: int) -> None:
        table = to_table(rollouts)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        content = sink.getvalue().to_pybytes()
        digest = xxhash.xxh3_128_hexdigest(content)
        path = self._folder / f"part-{self._data_rank:05d}-{part:06d}-{digest}.arrow"
        with refused(path, nbytes=len(content)):
            if not self._folder.is_dir():
                self._folder.mkdir(parents=True, exist_ok=True)
                sync(self._root.parent)
                sync(self._root)
            write_whole(path, content)


def remove_journal(folder: str | Path) -> None:
    """Delete a journal, with anything of the past in its folder."""
    shutil.rmtree(folder, ignore_errors=True)


def _read(path: Path) -> list[Rollout] | None:
    """The rollouts of a part; None unless it is what its name says."""
    content = path.read_bytes()
    if path.stem.rpartition("-")[2] != xxhash.xxh3_128_hexdigest(content):
        return None
    return from_table(pa.ipc.open_stream(content).read_all())


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
