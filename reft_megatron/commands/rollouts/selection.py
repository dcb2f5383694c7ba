"""Which rollouts of a ledger are meant, and the one pass that reads them.

Owns the filters and what is read to answer them: row groups whose statistics or filtered columns
hold nothing wanted are passed over, and of the others only the columns asked for are read. A
damaged file is remembered and passed over. Does not know what is done with the rows.
"""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow.fs import LocalFileSystem
from rich.console import Console
from rich.progress import track

from reft_megatron.errors import DataError
from reft_megatron.rollouts.ledger import Ledger
from reft_megatron.types import Reason

__all__ = ["ROWS", "Reading", "Selection", "find_ledger", "records", "told_numbers"]

ROWS = 8192
"""Most rows of a batch: the ledger's row group."""
_RECORDS = 128

# Buffered columns would be kept until their file is read to its end.
_FORMAT = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=False)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Filters; a rollout must pass all."""

    iterations: tuple[int, int] | None = None
    """First and last iteration; None for all."""
    problem: str | None = None
    """Id of the problem."""
    reasons: tuple[Reason, ...] = ()
    """Reasons of the verdict, one of which it must have; none for any."""
    min_reward: float | None = None
    """Smallest reward."""
    max_reward: float | None = None
    """Largest reward."""
    wrong: bool = False
    """Only what is not correct."""
    truncated: bool = False
    """Only what the length limit cut."""
    version: int | None = None
    """Policy version that sampled it."""
    limit: int | None = None
    """At most so many, the first."""

    def expression(self) -> Any:
        """The filters on rows as pyarrow takes them; None if there are none."""
        reason, reward = ds.field("reason"), ds.field("reward")
        wanted = []
        if self.problem is not None:
            wanted.append(ds.field("problem_id") == self.problem)
        if self.reasons:
            wanted.append(reason.isin([str(r) for r in self.reasons]))
        if self.min_reward is not None:
            wanted.append(reward >= self.min_reward)
        if self.max_reward is not None:
            wanted.append(reward <= self.max_reward)
        if self.wrong:
            wanted.append(reason != str(Reason.CORRECT))
        if self.truncated:
            wanted.append(~ds.field("finished"))
        if self.version is not None:
            wanted.append(ds.field("policy_version") == self.version)
        return functools.reduce(operator.and_, wanted) if wanted else None

    def spans(self, iteration: int) -> bool:
        """True if rollouts of this iteration are meant."""
        return self.iterations is None or self.iterations[0] <= iteration <= self.iterations[1]


class Reading:
    """A ledger read under a selection."""

    def __init__(self, folder: Path, selection: Selection, *, checksums: bool = True) -> None:
        """Of the ledger at `folder`; raises DataError if no iteration of the selection is sealed.

        Without `checksums` only the sizes of the files are checked.
        """
        self.folder = folder
        """Where the ledger is."""
        self.damage: list[str] = []
        """What was met and could not be read, in sentences."""
        self._ledger = Ledger(folder)
        self._selection = selection
        self._checksums = checksums
        sealed, unsealed = self._ledger.iterations(), self._ledger.unsealed()
        self.iterations = [n for n in sealed if selection.spans(n)]
        """Those to read, ascending."""
        self.unsealed = [n for n in unsealed if selection.spans(n)]
        """Those that would be read if they were sealed."""
        if not self.iterations:
            asked = told_numbers([selection.iterations]) if selection.iterations else "any"
            raise DataError(
                f"iteration {asked} of the rollout ledger {folder} is not sealed. Sealed: "
                f"{told_numbers(sealed)}; begun, and not sealed: {told_numbers(unsealed)}. An "
                "iteration can be read once every data rank has written its part."
            )

    def tokenizers(self) -> set[str]:
        """Fingerprints of the tokenizers that the token ids are of, as far as they are known."""
        origins = []
        for iteration in self.iterations:
            with contextlib.suppress(DataError):  # told when the iteration is read
                origins.append(self._ledger.origin(iteration))
        return {origin.tokenizer for origin in origins if origin}

    def batches(
        self, columns: Mapping[str, Any], *, bar: bool = False
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(iteration, rows) in the order of the ledger, at most `ROWS` of them at a time.

        `columns` are expressions by name. `bar` shows progress on a terminal's standard error.
        """
        left = self._selection.limit
        for iteration, rows in self._all(columns, bar=bar):
            yield iteration, rows if left is None else rows.slice(0, left)
            left = None if left is None else left - rows.num_rows
            if left is not None and left <= 0:
                return

    def _all(
        self, columns: Mapping[str, Any], *, bar: bool
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """As `batches`, without the limit."""
        console = Console(stderr=True)
        hidden = not (bar and console.is_terminal)
        told = track(self.iterations, "reading", console=console, transient=True, disable=hidden)
        for iteration in told:
            for path in self._files(iteration):
                for rows in self._rows(path, columns):
                    if rows.num_rows:
                        yield iteration, rows

    def _files(self, iteration: int) -> Iterator[Path]:
        """The files that are whole."""
        try:
            for path, damage in self._ledger.files(iteration, checksums=self._checksums):
                if damage:
                    self.damage.append(damage)
                else:
                    yield path
        except DataError as error:
            self.damage.append(str(error).rstrip("."))

    def _rows(self, path: Path, columns: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
        keep = self._selection.expression()
        try:
            for group in _groups(path, keep):
                # Counting reads no column but those that are filtered on.
                if keep is None or group.count_rows(filter=keep):
                    yield from group.to_batches(
                        columns=dict(columns), filter=keep, batch_size=ROWS, batch_readahead=1
                    )
        except (pa.ArrowException, OSError) as error:
            self.damage.append(f"the ledger file {path} cannot be read: {error}".rstrip("."))


def find_ledger(folder: Path) -> Path:
    """`folder` if it is a ledger, or the ledger of the run in it; DataError if there is neither."""
    for place in (folder, folder / "ledger"):
        if any(place.glob("iteration-*")):
            return place
    there = "holds no iteration of rollouts" if folder.is_dir() else "is no folder"
    raise DataError(
        f"{folder} {there}. Wanted: the `ledger` folder of a PPO run, with subfolders like "
        "iteration-000001, or the folder of the run."
    )


def records(
    batches: Iterator[tuple[int, pa.RecordBatch]],
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(iteration, row) one by one, lists as Python lists; few rows at a time are held as such."""
    for iteration, rows in batches:
        for start in range(0, rows.num_rows, _RECORDS):
            for row in rows.slice(start, _RECORDS).to_pylist():
                yield iteration, row


def _groups(path: Path, keep: Any) -> list[Any]:
    """The row groups of a file whose statistics leave room for rows to `keep`."""
    fragment = _FORMAT.make_fragment(str(path), filesystem=LocalFileSystem())
    groups: list[Any] = fragment.split_by_row_group(keep)
    return groups


def told_numbers(numbers: Iterable[int | tuple[int, int]]) -> str:
    """Ascending numbers, or spans of them, neighbours together: `1-3, 7`."""
    spans: list[tuple[int, int]] = []
    for number in numbers:
        first, last = number if isinstance(number, tuple) else (number, number)
        if spans and first == spans[-1][1] + 1:
            spans[-1] = spans[-1][0], last
        else:
            spans.append((first, last))
    told = (f"{first}" if first == last else f"{first}-{last}" for first, last in spans)
    return ", ".join(told) or "none"
