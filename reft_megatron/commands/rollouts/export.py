"""Rollouts of a ledger in one file: Parquet or JSON Lines.

Owns the two forms, and that a file is written whole or not at all. Its columns are `iteration` and
those of the ledger.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from reft_megatron.commands.rollouts.selection import Reading, records
from reft_megatron.errors import DataError
from reft_megatron.files import drafting
from reft_megatron.rollouts.schema import LEDGER

__all__ = ["check_export", "export"]

_SCHEMA = pa.schema([pa.field("iteration", pa.int32(), nullable=False), *LEDGER])


def check_export(path: Path, ledger: Path, *, force: bool) -> None:
    """Raises DataError if `path` is no place to write to."""
    if path.suffix not in (".parquet", ".jsonl"):
        raise DataError(f"{path}: an export ends in .parquet or .jsonl, saw {path.suffix!r}.")
    if not path.parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent}; make it first.")
    if path.resolve().is_relative_to(ledger.resolve()):
        raise DataError(f"{path}: lies in the ledger; export to a place outside it.")
    if path.exists() and not force:
        raise DataError(f"{path}: is there already; --force replaces it.")


def export(reading: Reading, path: Path) -> int:
    """Write what `reading` selects to `path`, a little at a time; returns how many rollouts.

    Raises DataError, and leaves `path` as it was, if the disk refuses.
    """
    batches = reading.batches({name: ds.field(name) for name in LEDGER.names}, bar=True)
    write = _write_parquet if path.suffix == ".parquet" else _write_lines
    try:
        with drafting(path) as draft:
            return write(draft, batches)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}.") from None


def _write_parquet(path: Path, batches: Iterator[tuple[int, pa.RecordBatch]]) -> int:
    count = 0
    with pq.ParquetWriter(path, _SCHEMA) as writer:
        for iteration, rows in batches:
            numbers = pa.repeat(pa.scalar(iteration, pa.int32()), rows.num_rows)
            columns = [numbers, *(rows[name] for name in LEDGER.names)]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=_SCHEMA))
            count += rows.num_rows
    return count


def _write_lines(path: Path, batches: Iterator[tuple[int, pa.RecordBatch]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for iteration, row in records(batches):
            file.write(_line({"iteration": iteration, **row}) + "\n")
            count += 1
    return count


def _line(row: dict[str, Any]) -> str:
    """JSON, which has no nan and no infinity: null stands for them."""
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(row), ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
