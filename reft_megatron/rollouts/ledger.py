"""The ledger: every rollout on disk, in files that any data tool reads.

Owns a folder with one subfolder per iteration: Parquet files of each data rank (`schema.LEDGER`)
and, written last, `manifest.json` with the checksum and row count of each, and the origin of the
rollouts. An iteration counts once its manifest stands. Nothing is ever half-written under its
final name: bytes go to a temporary name, to the disk, and then are renamed.

Try it: `pyarrow.parquet.read_table("runs/x/ledger/iteration-000001/rank-00000.parquet")`.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from reft_megatron import __version__
from reft_megatron.errors import DataError
from reft_megatron.files import checksum, drafting, sync, write_whole
from reft_megatron.rollouts.disk import reason, refused
from reft_megatron.rollouts.parquet import write_table
from reft_megatron.rollouts.schema import LEDGER, from_table, to_table
from reft_megatron.types import Rollout

__all__ = ["Ledger", "Origin"]

_MANIFEST = "manifest.json"
_FORMAT = 2
_KIND = "xxh3_128"
_WRITERS = 2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where rollouts come from; task and tokenizer must be those of whoever reads them."""

    task: str
    """Name of the task, with the form of its answers."""
    tokenizer: str
    """Fingerprint of the tokenizer that the token ids are of."""
    weights: str = ""
    """Fingerprint of the weights that the recording run began with; empty if nobody said."""
    settings: str = ""
    """Digest of that run's recipe and settings; empty if nobody said."""

    def fits(self, other: Origin | None) -> bool:
        """True if the `other` has the same task and tokenizer."""
        return other is not None and (self.task, self.tokenizer) == (other.task, other.tokenizer)


class Ledger:
    """The rollouts of a run, iteration by iteration.

    Any number of processes may append at once, each its own data rank; one process seals when all
    have (put a barrier between), and one drops.
    """

    def __init__(self, folder: str | Path, *, origin: Origin | None = None) -> None:
        """With an `origin` what is written is labelled with it, and what is read must fit it.

        Without one anything can be read.
        """
        self._folder = Path(folder)
        self._origin = origin
        self._intact: set[Path] = set()
        self._written: dict[Path, dict[str, Any]] = {}

    def append(
        self, iteration: int, data_rank: int, rollouts: pa.Table | Sequence[Rollout]
    ) -> None:
        """Write the rollouts of one data rank; replaces what an interrupted run left there.

        A table has the schema `LEDGER` and may hold scores. The same rows make the same bytes.
        Raises DataError, and leaves no half-written file, if the disk refuses or the iteration is
        sealed already.
        """
        table = rollouts if isinstance(rollouts, pa.Table) else to_table(rollouts)
        self.append_parts(iteration, data_rank, [table])

    def append_parts(self, iteration: int, data_rank: int, tables: Iterable[pa.Table]) -> None:
        """`append` for more than memory holds: each table becomes a file.

        Tables are taken as they are written, a few at a time.
        """
        folder = self._iteration(iteration)
        if (folder / _MANIFEST).exists():
            raise DataError(
                f"iteration {iteration} of the rollout ledger {self._folder} is sealed already; "
                "drop it first (`drop_from`) to record it anew."
            )
        with refused(folder):
            folder.mkdir(parents=True, exist_ok=True)
            sync(self._folder)
            for path in self._parts(iteration, data_rank):
                path.unlink()
        self._forget(folder)
        pending: deque[Future[None]] = deque()
        with ThreadPoolExecutor(_WRITERS) as writers:
            for part, table in enumerate(_at_least_one(tables)):
                path = folder / _name(data_rank, part)
                pending.append(writers.submit(self._write, path, table))
                if len(pending) > _WRITERS:
                    pending.popleft().result()
            for write in pending:
                write.result()

    def seal(self, iteration: int, *, data_size: int) -> None:
        """Write the manifest: the iteration now counts. Call it once all data ranks have appended.

        What else lies in its folder, left by a run of more data ranks, is removed. Raises DataError
        if a data rank has not appended, or if the disk refuses.
        """
        folder = self._iteration(iteration)
        parts = [self._parts(iteration, rank) for rank in range(data_size)]
        if [] in parts:
            raise DataError(
                f"data rank {parts.index([])} has not appended to iteration {iteration} of the "
                f"rollout ledger {self._folder}; seal it once all {data_size} have."
            )
        paths = list(itertools.chain(*parts))
        with ThreadPoolExecutor(_WRITERS) as readers:
            described = list(readers.map(self._described, paths))
        manifest = {
            "format": _FORMAT,
            "checksum": _KIND,
            "iteration": iteration,
            "origin": dataclasses.asdict(self._origin) if self._origin else None,
            "files": {path.name: told for path, told in zip(paths, described, strict=True)},
            "versions": {"reft_megatron": __version__, "pyarrow": pa.__version__},
        }
        content = json.dumps({**manifest, "seal": _seal_of(manifest)}, indent=2)
        with refused(folder / _MANIFEST, nbytes=len(content)):
            for path in set(folder.iterdir()) - set(paths):
                path.unlink()
            write_whole(folder / _MANIFEST, content)

    def iterations(self) -> list[int]:
        """The sealed iterations, ascending."""
        return sorted(n for n in self._started() if (self._iteration(n) / _MANIFEST).exists())

    def unsealed(self) -> list[int]:
        """The iterations that were begun and do not count, ascending."""
        return sorted({*self._started()} - {*self.iterations()})

    def origin(self, iteration: int) -> Origin | None:
        """Where the rollouts of a sealed iteration come from; None if nobody said."""
        told = self._manifest(iteration)["origin"]
        return Origin(**told) if told else None

    def fingerprint(self) -> str:
        """A digest of what is sealed: another once an iteration is added, dropped or altered.

        Raises DataError as `read` does, but not for a damaged file.
        """
        manifests = [self._manifest(iteration) for iteration in self.iterations()]
        return xxhash.xxh3_128_hexdigest(json.dumps(manifests, sort_keys=True).encode())

    def read(self, iteration: int) -> list[Rollout]:
        """All rollouts of a sealed iteration, data rank by data rank.

        Raises DataError if it is not sealed or of another origin, or if a file is missing, torn or
        altered.
        """
        return from_table(self.table(iteration))

    def table(self, iteration: int, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of a sealed iteration, or some columns; raises DataError as `read` does."""
        tables = [pq.read_table(path, columns=columns) for path in self._files(iteration)]
        return pa.concat_tables(tables)

    def scan(
        self,
        columns: Sequence[str] | None = None,
        *,
        iterations: Sequence[int] | None = None,
        rows: int = 8192,
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(iteration, at most `rows` of its rows) over the whole ledger, a little at a time.

        Raises DataError as `read` does.
        """
        for iteration in self.iterations() if iterations is None else iterations:
            for path in self._files(iteration):
                with pq.ParquetFile(path, pre_buffer=False) as file:
                    for batch in file.iter_batches(rows, columns=columns):
                        yield iteration, batch

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows of the whole ledger, some columns of them: what a view reads."""
        for _, batch in self.scan(columns):
            yield batch

    def files(self, iteration: int, *, checksums: bool = True) -> Iterator[tuple[Path, str]]:
        """(file, what is wrong with it, or nothing) for each file of a sealed iteration.

        Each is checked once in the life of this object; without `checksums` only its size is looked
        at. Raises DataError as `read` does, but not for a damaged file.
        """
        for name, wanted in self._manifest(iteration)["files"].items():
            path = self._iteration(iteration) / name
            damage = "" if path in self._intact else _damage(path, wanted, checksums=checksums)
            if checksums and not damage:
                self._intact.add(path)
            yield path, damage

    def drop_from(self, iteration: int) -> None:
        """Forget this iteration and all after it, sealed or not: what a resumed run does again."""
        for n in sorted(self._started(), reverse=True):
            if n >= iteration:
                self._forget(self._iteration(n))
                # Unsealed first, so that an interrupted removal leaves nothing that seems whole.
                (self._iteration(n) / _MANIFEST).unlink(missing_ok=True)
                shutil.rmtree(self._iteration(n))

    def drop_damaged(self) -> list[str]:
        """Drop the newest iterations until one is whole: what a killed run leaves at the end.

        Returns what was wrong with each, newest first. Raises DataError for another origin.
        """
        found = []
        for n in sorted(self._started(), reverse=True):
            trouble = self._trouble(n)
            if not trouble:
                break
            found.append(f"dropped iteration {n} of the rollout ledger: {trouble}")
            self.drop_from(n)
        return found

    def _trouble(self, iteration: int) -> str:
        """What is wrong with an iteration, or nothing."""
        if not (self._iteration(iteration) / _MANIFEST).exists():
            return "it was not sealed"
        try:
            self._files(iteration)
        except _DamageError as error:
            return error.what
        return ""

    def _write(self, path: Path, table: pa.Table) -> None:
        with refused(path, nbytes=table.nbytes), drafting(path) as draft:
            told = {_KIND: write_table(draft, table)}
        self._written[path] = {"rows": table.num_rows, **_digest(path, checksums=False), **told}

    def _described(self, path: Path) -> dict[str, Any]:
        """What the manifest says of a file: as this process wrote it, or as it is found."""
        if told := self._written.pop(path, None):
            return told
        return {"rows": pq.read_metadata(path).num_rows, **_digest(path)}

    def _forget(self, folder: Path) -> None:
        """What was checked of an iteration, or written, says nothing of what will stand there."""
        self._intact = {path for path in self._intact if path.parent != folder}
        self._written = {p: told for p, told in self._written.items() if p.parent != folder}

    def _iteration(self, iteration: int) -> Path:
        return self._folder / f"iteration-{iteration:06d}"

    def _started(self) -> list[int]:
        numbers = (path.name.partition("-")[2] for path in self._folder.glob("iteration-*"))
        return [int(number) for number in numbers if number.isdigit()]

    def _parts(self, iteration: int, data_rank: int) -> list[Path]:
        """The files of a data rank, in order."""
        folder = self._iteration(iteration)
        paths = (folder / _name(data_rank, part) for part in itertools.count())
        return list(itertools.takewhile(Path.exists, paths))

    def _files(self, iteration: int) -> list[Path]:
        """The files of a sealed iteration, found whole."""
        paths = []
        for path, damage in self.files(iteration):
            if damage:
                raise _DamageError(damage)
            paths.append(path)
        return paths

    def _manifest(self, iteration: int) -> dict[str, Any]:
        path = self._iteration(iteration) / _MANIFEST
        try:
            manifest = _read_manifest(path)
        except FileNotFoundError:
            raise DataError(
                f"iteration {iteration} of the rollout ledger {self._folder} is not sealed; the "
                f"sealed ones are {self.iterations()}."
            ) from None
        origin = Origin(**manifest["origin"]) if manifest["origin"] else None
        if self._origin is not None and not self._origin.fits(origin):
            raise DataError(
                f"the rollout ledger {self._folder} holds rollouts of {_told(origin)}, and this "
                f"run has {_told(self._origin)}. Take a ledger of this task and tokenizer."
            )
        return manifest


class _DamageError(DataError):
    """A file of the ledger is not what was written."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; restore it, or drop its iteration and those after it.")
        self.what = what


def _name(data_rank: int, part: int) -> str:
    return f"rank-{data_rank:05d}{f'-{part:05d}' if part else ''}.parquet"


def _at_least_one(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The tables, or an empty one: a data rank without rollouts says so with a file."""
    tables = iter(tables)
    yield next(tables, LEDGER.empty_table())
    yield from tables


def _digest(path: Path, *, checksums: bool = True) -> dict[str, Any]:
    """What tells one file from another."""
    try:
        told: dict[str, Any] = {"bytes": path.stat().st_size}
        return told | {_KIND: checksum(path)} if checksums else told
    except OSError as error:
        raise _DamageError(f"cannot read the ledger file {path}: {reason(error)}") from None


def _damage(path: Path, wanted: dict[str, Any], *, checksums: bool) -> str:
    """How a file differs from what the manifest wants, or nothing."""
    try:
        whole = wanted | _digest(path, checksums=checksums) == wanted
    except _DamageError as error:
        return error.what
    return "" if whole else f"the ledger file {path} is torn or altered"


def _seal_of(manifest: dict[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(manifest, sort_keys=True).encode())


def _read_manifest(path: Path) -> dict[str, Any]:
    """The manifest, found whole; FileNotFoundError if there is none."""
    damage = _DamageError(f"the ledger file {path} is torn or altered")
    try:
        manifest = json.loads(path.read_bytes())
    except ValueError:
        raise damage from None
    if not isinstance(manifest, dict):
        raise damage
    seal = manifest.pop("seal", None)
    if seal is None and manifest.get("format") == 1:
        raise DataError(
            f"{path} was written by an earlier version of this package, with other checksums and "
            "without scores. Record the rollouts anew."
        )
    if seal != _seal_of(manifest):
        raise damage
    if manifest["format"] != _FORMAT:
        raise DataError(
            f"{path} has format {manifest['format']}, and this version of the package reads "
            f"{_FORMAT}. Use the version that wrote it ({manifest['versions']['reft_megatron']})."
        )
    return manifest


def _told(origin: Origin | None) -> str:
    if origin is None:
        return "a task and tokenizer that nobody wrote down"
    return f"the task {origin.task} and the tokenizer {origin.tokenizer}"
