"""Token arrays of more rollouts than memory holds.

Owns columns of one 1-D array per rollout, appended in chunks: the newest chunks are in memory, the
oldest in a temporary file without a name, so that nothing is left of it when the process ends,
however it ends. Rows are read from it where they lie; only offsets stay resident.
"""

from __future__ import annotations

import os
import tempfile
from bisect import bisect_right
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reft_megatron.closing import Closing
from reft_megatron.rollouts.disk import refused

__all__ = ["TokenStore"]

Array = NDArray[Any]


class TokenStore(Closing):
    """Columns of arrays, by row number; a context manager that closes its file."""

    def __init__(
        self,
        columns: Mapping[str, type[np.generic]],
        *,
        memory_mb: float,
        folder: str | Path | None = None,
    ) -> None:
        """At most `memory_mb` MB (10^6 bytes) of arrays stay in memory, and the newest chunk.

        The rest goes to `folder`, or where the system keeps temporary files.
        """
        self._dtypes = {name: np.dtype(dtype) for name, dtype in columns.items()}
        self._bound = memory_mb * 1e6
        self._folder = Path(folder or tempfile.gettempdir())
        self._file: Any = None
        self._starts: list[int] = []
        self._chunks: list[_Chunk] = []
        self._rows = 0
        self._spilled = 0
        self._end = 0
        self.resident = 0
        """Bytes of arrays in memory."""

    def close(self) -> None:
        """Forget everything."""
        if self._file is not None:
            self._file.close()
        self._chunks, self._starts, self._rows = [], [], 0

    def __len__(self) -> int:
        return self._rows

    @property
    def spilled(self) -> int:
        """Bytes of arrays on the disk."""
        return self._end

    def append(self, table: pa.Table | pa.RecordBatch) -> None:
        """Take the rows of a table as one chunk: its columns of lists that this store has.

        Raises DataError if the disk refuses.
        """
        if not table.num_rows:
            return
        chunk = _Chunk({name: _column(table, name, dtype) for name, dtype in self._dtypes.items()})
        self._starts.append(self._rows)
        self._chunks.append(chunk)
        self._rows += table.num_rows
        self.resident += chunk.nbytes
        while self.resident > self._bound and self._spilled < len(self._chunks) - 1:
            self._spill(self._chunks[self._spilled])
            self._spilled += 1

    def row(self, name: str, index: int) -> Array:
        """The array of one row, 1-D."""
        at = bisect_right(self._starts, index) - 1
        chunk = self._chunks[at]
        start, end = chunk.offsets[name][index - self._starts[at] :][:2].tolist()
        if chunk.values:
            return chunk.values[name][start:end]
        dtype = self._dtypes[name]
        position = chunk.positions[name] + start * dtype.itemsize
        content = os.pread(self._file.fileno(), (end - start) * dtype.itemsize, position)
        return np.frombuffer(content, dtype)

    def lengths(self, name: str) -> NDArray[np.int64]:
        """Numbers in each row of a column, [rows]."""
        parts = [np.diff(chunk.offsets[name]) for chunk in self._chunks]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    def _spill(self, chunk: _Chunk) -> None:
        with refused(self._folder, nbytes=chunk.nbytes):
            if self._file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115  # `close` does
            end = self._end
            for name, values in chunk.values.items():
                chunk.positions[name] = end
                rest = values.view(np.uint8).data
                while rest:
                    written = os.pwrite(self._file.fileno(), rest, end)
                    end, rest = end + written, rest[written:]
        self._end = end
        self.resident -= chunk.nbytes
        chunk.values = {}


class _Chunk:
    """Some rows: their offsets, and their numbers, or where in the file those are."""

    def __init__(self, columns: Mapping[str, tuple[Array, Array]]) -> None:
        self.offsets = {name: offsets for name, (offsets, _) in columns.items()}
        self.values = {name: values for name, (_, values) in columns.items()}
        self.positions: dict[str, int] = {}
        self.nbytes = sum(values.nbytes for values in self.values.values())


def _column(
    table: pa.Table | pa.RecordBatch, name: str, dtype: np.dtype[Any]
) -> tuple[Array, Array]:
    """Offsets [rows + 1], from 0, and all numbers of a column of lists, as copies."""
    column = table[name]
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    offsets = column.offsets.to_numpy()
    values = column.values.to_numpy()[offsets[0] : offsets[-1]]
    return offsets - offsets[0], np.array(values, dtype)
