"""The ledger: every rollout on disk, in files that any data tool reads.

Owns a folder with one subfolder per iteration: one Parquet file per data rank (`schema.LEDGER`)
and, written last, `manifest.json` with the checksum and row count of each. An iteration counts
once its manifest stands. Nothing is ever half-written under its final name: bytes go to a
temporary name, to the disk, and then are renamed.

Try it: `pyarrow.parquet.read_table("runs/x/ledger/iteration-000001/rank-00000.parquet")`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reft_megatron import __version__
from reft_megatron.errors import DataError
from reft_megatron.files import sync, write_whole
from reft_megatron.rollouts.schema import from_table, to_table
from reft_megatron.types import Rollout

__all__ = ["Ledger"]

_MANIFEST = "manifest.json"
_FORMAT = 1


class Ledger:
    """The rollouts of a run, iteration by iteration.

    Any number of processes may append at once, each its own data rank; one process seals when all
    have (put a barrier between), and one drops.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)

    def append(self, iteration: int, data_rank: int, rollouts: Sequence[Rollout]) -> None:
        """Write the rollouts of one data rank; replaces what an interrupted run left there.

        Raises DataError, and leaves no half-written file, if the disk refuses or the iteration is
        sealed already.
        """
        folder = self._iteration(iteration)
        if (folder / _MANIFEST).exists():
            raise DataError(
                f"iteration {iteration} of the rollout ledger {self._folder} is sealed already; "
                "drop it first (`drop_from`) to record it anew."
            )
        sink = pa.BufferOutputStream()
        pq.write_table(to_table(rollouts), sink)
        _write(folder / _name(data_rank), sink.getvalue().to_pybytes())

    def seal(self, iteration: int, *, data_size: int) -> None:
        """Write the manifest: the iteration now counts. Call it once all data ranks have appended.

        Raises DataError if a data rank's file is missing or damaged, or if the disk refuses.
        """
        folder = self._iteration(iteration)
        files = {_name(rank): _entry(folder / _name(rank)) for rank in range(data_size)}
        manifest = {
            "format": _FORMAT,
            "iteration": iteration,
            "files": files,
            "versions": {"reft_megatron": __version__, "pyarrow": pa.__version__},
        }
        _write(folder / _MANIFEST, json.dumps(manifest, indent=2).encode())

    def iterations(self) -> list[int]:
        """The sealed iterations, ascending."""
        return sorted(n for n in self._started() if (self._iteration(n) / _MANIFEST).exists())

    def read(self, iteration: int) -> list[Rollout]:
        """All rollouts of a sealed iteration, data rank by data rank.

        Raises DataError if it is not sealed, or if a file is missing, torn or altered.
        """
        folder = self._iteration(iteration)
        rollouts = []
        for name, wanted in self._files(iteration).items():
            path = folder / name
            if _entry(path) != wanted:
                raise DataError(_damaged(path))
            rollouts += from_table(pq.read_table(path))
        return rollouts

    def drop_from(self, iteration: int) -> None:
        """Forget this iteration and all after it, sealed or not: what a resumed run does again."""
        for n in sorted(self._started(), reverse=True):
            if n >= iteration:
                # Unsealed first, so that an interrupted removal leaves nothing that seems whole.
                (self._iteration(n) / _MANIFEST).unlink(missing_ok=True)
                shutil.rmtree(self._iteration(n))

    def _iteration(self, iteration: int) -> Path:
        return self._folder / f"iteration-{iteration:06d}"

    def _started(self) -> list[int]:
        numbers = (path.name.partition("-")[2] for path in self._folder.glob("iteration-*"))
        return [int(number) for number in numbers if number.isdigit()]

    def _files(self, iteration: int) -> dict[str, Any]:
        path = self._iteration(iteration) / _MANIFEST
        try:
            files: dict[str, Any] = json.loads(path.read_bytes())["files"]
        except FileNotFoundError:
            raise DataError(
                f"iteration {iteration} of the rollout ledger {self._folder} is not sealed; the "
                f"sealed ones are {self.iterations()}."
            ) from None
        except (ValueError, KeyError):
            raise DataError(_damaged(path)) from None
        return files


def _name(data_rank: int) -> str:
    return f"rank-{data_rank:05d}.parquet"


def _entry(path: Path) -> dict[str, Any]:
    """What the manifest says of one file: its checksum and its number of rows."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the ledger file {path}: {error.strerror}.") from None
    try:
        rows = pq.read_metadata(pa.BufferReader(content)).num_rows
    except (pa.ArrowException, OSError):
        raise DataError(_damaged(path)) from None
    return {"sha256": hashlib.sha256(content).hexdigest(), "rows": rows}


def _damaged(path: Path) -> str:
    return (
        f"the ledger file {path} is torn or altered; restore it, or drop its iteration and those "
        "after it."
    )


def _write(path: Path, content: bytes) -> None:
    """Write all of `content` to `path`, durably, or nothing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
        sync(path.parent.parent)
    except OSError as error:
        raise DataError(
            f"cannot write the ledger file {path}: {error.strerror}; the run needs "
            f"{len(content)} bytes there. Free the disk or choose another run.dir, then resume."
        ) from None
