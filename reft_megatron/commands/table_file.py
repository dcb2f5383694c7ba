"""A file of rows (JSON or Parquet), and the same rows with columns added.

Owns reading, errors that name file, row and field, and writing the file whole or not at all. What
the columns mean is the command's.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from reft_megatron.errors import DataError
from reft_megatron.files import write_whole
from reft_megatron.tasks.records import Record, read_records

__all__ = ["TableFile", "check_output", "read_table"]

_JSON = (".jsonl", ".json")
_PARQUET = ".parquet"
_REMEDY = "Wanted: JSON Lines or a JSON list (.jsonl, .json) of objects, or Parquet (.parquet)."


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFile:
    """The rows of one file."""

    path: Path
    """Where they were read."""
    records: list[Record]
    """The rows; each makes its own errors."""
    table: pa.Table | None
    """The same as Parquet has them, with its types; None if they were JSON."""

    def column(self, name: str) -> list[object]:
        """The values of a column; raises DataError at the first row that lacks it."""
        for record in self.records:
            if name not in record.fields:
                there = sorted(record.fields)
                raise record.error(name, f"is missing; name one of the fields that are: {there}")
        return [record.fields[name] for record in self.records]

    def texts(self, name: str) -> list[str | bytes]:
        """As `column`; raises DataError at the first value that is no text."""
        texts: list[str | bytes] = []
        for record, value in zip(self.records, self.column(name), strict=True):
            if not isinstance(value, str | bytes):
                raise record.error(name, f"is {json.dumps(value, default=str):.40}; wanted text")
            texts.append(value)
        return texts

    def numbers(self, name: str) -> list[float]:
        """As `column`; text counts if it is a number, commas aside. Raises DataError at the first
        value that is no finite number.
        """
        numbers: list[float] = []
        for record, value in zip(self.records, self.column(name), strict=True):
            number = _number(value)
            if number is None:
                told = f"{json.dumps(value, default=str):.40}"
                raise record.error(name, f"is {told}; wanted a finite number")
            numbers.append(number)
        return numbers

    def write(self, path: Path, added: Mapping[str, Sequence[object]]) -> None:
        """Write the rows with the columns `added` to a file that `check_output` found good.

        Raises DataError if the disk does not take it.
        """
        content = self._parquet(added) if path.suffix == _PARQUET else self._lines(added)
        try:
            write_whole(path, content)
        except OSError as error:
            raise DataError(f"{path}: cannot be written: {error.strerror}.") from None

    def _lines(self, added: Mapping[str, Sequence[object]]) -> str:
        columns = {name: [_strict(value) for value in values] for name, values in added.items()}
        rows = zip(*columns.values(), strict=True)
        return "".join(
            json.dumps({**record.fields, **dict(zip(columns, row, strict=True))}, default=_plain)
            + "\n"
            for record, row in zip(self.records, rows, strict=True)
        )

    def arrow(self) -> pa.Table:
        """The rows as Parquet has them; raises DataError if a column mixes kinds of values."""
        if self.table is not None:
            return self.table
        names = dict.fromkeys(name for record in self.records for name in record.fields)
        columns = {}
        for name in names:
            try:
                columns[name] = pa.array([record.fields.get(name) for record in self.records])
            except (pa.ArrowException, UnicodeError) as error:
                raise DataError(
                    f"{self.path}: field {name!r} does not fit Parquet: {error}. Let --output end "
                    "in .jsonl."
                ) from None
        return pa.table(columns)

    def _parquet(self, added: Mapping[str, Sequence[object]]) -> bytes:
        table = self.arrow()
        for name, values in added.items():
            table = table.append_column(name, pa.array(values))
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        return buffer.getvalue()


def read_table(path: Path) -> TableFile:
    """Read a file of rows; raises DataError if it is missing, unreadable, or holds no rows."""
    if path.suffix in _JSON:
        records = read_records(str(path), _REMEDY)
        return TableFile(path=path, records=records, table=None)
    if path.suffix != _PARQUET:
        raise DataError(f"{path}: its name ends in {path.suffix!r}. {_REMEDY}")
    try:
        table = pq.read_table(io.BytesIO(path.read_bytes()))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}. {_REMEDY}") from None
    except pa.ArrowException as error:
        raise DataError(f"{path}: {error} {_REMEDY}") from None
    if not table.num_rows:
        raise DataError(f"{path}: holds no rows. {_REMEDY}")
    records = [
        Record(place=f"{path}: row {index}", index=index, fields=fields, remedy=_REMEDY)
        for index, fields in enumerate(table.to_pylist())
    ]
    return TableFile(path=path, records=records, table=table)


def check_output(path: Path, table: TableFile, added: Sequence[str]) -> None:
    """Raises DataError if `table` with the columns `added` should not be written to `path`."""
    if path.suffix not in (".jsonl", _PARQUET):
        raise DataError(f"{path}: the output ends in .jsonl or .parquet, saw {path.suffix!r}.")
    if not path.parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent}; make it first.")
    if path.exists() and path.samefile(table.path):
        raise DataError(f"{path}: is the input too; --output names another file.")
    for record in table.records:
        for name in added:
            if name in record.fields:
                raise DataError(
                    f"{record.place}: field {name!r} is there already and would be overwritten. "
                    "--prefix TEXT gives the added columns other names."
                )
    if path.suffix == _PARQUET:
        table.arrow()


def _number(value: object) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value.replace(",", "") if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _strict(value: object) -> object:
    """JSON has no nan and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: object) -> str:
    """What Parquet has and JSON has not: bytes, dates, decimals."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
