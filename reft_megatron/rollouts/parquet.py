"""Writing tables with long lists of numbers as Parquet, at the speed of a disk.

pyarrow makes the levels that say where lists begin one number after the other, and anew for each
column. So here it writes the file with empty lists: schema, other columns, footer. The pages of the
lists are put behind, their levels packed all at once, and the footer is told where they are.

pyarrow and pandas read the file in tests; DuckDB 2.0.1, Polars 2.1.0 and fastparquet 2026.9.0 read
one by hand (20,000 rows, a fifth of the lists null, a fifth empty), every number as it was.

Format: github.com/apache/parquet-format (README.md, Encodings.md, parquet.thrift).

Legend: R rows, S slots: one for each number in the lists, and one for a list without any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reft_megatron.errors import DataError
from reft_megatron.files import LargeFile
from reft_megatron.rollouts import thrift

__all__ = ["write_table"]

_OPTIONS: dict[str, Any] = {
    # float32 hardly compresses, and its smallest and largest say nothing.
    "compression": "none",
    "use_dictionary": ["problem_id", "reason", "letter", "detail"],
    "write_statistics": ["problem_id", "sample", "policy_version", "reason", "reward"],
}
_MOST_ROWS = 8192
_PAGE_SLOTS = 1 << 20
_MAGIC = b"PAR1"

# Numbers of fields in parquet.thrift.
_GROUPS, _COLUMNS, _GROUP_SIZE, _GROUP_ROWS, _GROUP_STORED, _META = 4, 1, 2, 3, 6, 3
_ENCODINGS, _SLOTS, _SIZE, _STORED, _FIRST_PAGE = 2, 5, 6, 7, 9
_GONE = (13, 16)
"""What was counted of a column of empty lists: its pages, and its levels."""
_PLAIN, _RLE, _DATA_PAGE = 0, 3, 0


def write_table(path: Path, table: pa.Table) -> str:
    """Write `table`, whose lists are of int32 or float32 that are never null; returns a checksum.

    It is that of `files.checksum`. The same rows make the same bytes. Raises OSError, and DataError
    for lists of anything else.
    """
    listed = [i for i, field in enumerate(table.schema) if pa.types.is_list(field.type)]
    for i in listed:
        _check(table.field(i), table.column(i))
    content = memoryview(_written(_emptied(table, listed)))
    end = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    footer = thrift.read(bytes(content[end:-8]))
    with LargeFile(path) as file:
        file.write(content[:end])
        first = 0
        for group in footer[_GROUPS][1][1]:
            rows = table.slice(first, group[_GROUP_ROWS][1])
            first += len(rows)
            lists = ((table.field(i), i, _one(rows.column(i))) for i in listed)
            _put_lists(file, group, lists)
        told = thrift.write(footer)
        file.write(told + len(told).to_bytes(4, "little") + _MAGIC)
        return file.checksum


def _check(field: pa.Field, column: pa.ChunkedArray) -> None:
    """DataError unless these are lists whose pages can be written here."""
    element = field.type.value_field
    if element.nullable or element.type not in (pa.int32(), pa.float32()):
        raise DataError(
            f"the column {field.name} has lists of {element.type}"
            f"{' that may be null' * element.nullable}, and a ledger's are of int32 or float32 "
            "that may not. Cast the table to `rollouts.schema.LEDGER`."
        )
    if column.null_count and not field.nullable:
        raise DataError(
            f"the column {field.name} may not be null, and {column.null_count} of its lists are. "
            "Leave those rows out, or give them lists."
        )


def _written(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=_MOST_ROWS, **_OPTIONS)
    return sink.getvalue()


def _emptied(table: pa.Table, listed: Sequence[int]) -> pa.Table:
    offsets = pa.array(np.zeros(table.num_rows + 1, np.int32))
    for i in listed:
        field = table.schema.field(i)
        empty = pa.array([], field.type.value_type)
        lists = pa.ListArray.from_arrays(offsets, empty, type=field.type)
        table = table.set_column(i, field, lists)
    return table


def _one(column: pa.ChunkedArray) -> Any:
    """A column as one array, without a copy where it is one."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _put_lists(
    file: LargeFile, group: thrift.Struct, columns: Iterable[tuple[pa.Field, int, Any]]
) -> None:
    """Write the lists of a row group, (field, index, rows) of each, and tell its metadata."""
    packed: dict[bytes, list[_Page]] = {}
    grown = 0
    for field, i, rows in columns:
        if not len(rows):
            continue
        there = rows.is_valid().to_numpy(zero_copy_only=False)
        lengths = np.where(there, np.diff(rows.offsets.to_numpy()), 0)
        # Most lists of a rollout have a number for each token of its response.
        key = bytes([field.nullable]) + there.tobytes() + lengths.tobytes()
        if key not in packed:
            packed[key] = list(_pages(lengths, there, nullable=field.nullable))
        start, values = file.size, rows.flatten().to_numpy()
        for page in packed[key]:
            file.write(page.head)
            file.write(memoryview(values[page.values]).cast("B"))
        size = file.size - start
        meta: thrift.Struct = group[_COLUMNS][1][1][i][_META][1]
        grown += size - meta[_SIZE][1]
        for gone in _GONE:
            meta.pop(gone, None)
        meta[_ENCODINGS] = (thrift.LIST, (thrift.I32, [_PLAIN, _RLE]))
        slots = int(np.maximum(lengths, 1).sum())
        told = {_SLOTS: slots, _SIZE: size, _STORED: size, _FIRST_PAGE: start}
        meta.update({number: (thrift.I64, value) for number, value in told.items()})
    for number in (_GROUP_SIZE, _GROUP_STORED):
        group[number] = (thrift.I64, group[number][1] + grown)


class _Page(NamedTuple):
    """Some rows of a column."""

    head: bytes
    """Header and levels."""
    values: slice
    """The numbers that follow."""


def _pages(
    lengths: NDArray[np.int64], there: NDArray[np.bool_], *, nullable: bool
) -> Iterator[_Page]:
    """Pages of about `_PAGE_SLOTS` slots for lists of these `lengths` [R], null if not `there`."""
    slots = np.maximum(lengths, 1)
    ends, value_ends = slots.cumsum(), lengths.cumsum()
    starts = ends - slots
    full = 1 + nullable
    levels = np.where(lengths > 0, full, np.where(there, full - 1, 0)).astype(np.uint8)
    cuts = np.flatnonzero(np.diff(starts // _PAGE_SLOTS)) + 1
    for rows in map(slice, [0, *cuts.tolist()], [*cuts.tolist(), len(lengths)]):
        first, last = int(starts[rows][0]), int(ends[rows][-1])
        repetition = np.ones(last - first, np.uint8)
        repetition[starts[rows] - first] = 0  # a row begins
        definition = np.repeat(levels[rows], slots[rows])
        body = _packed(repetition, 1) + _packed(definition, full.bit_length())
        begin = int(value_ends[rows][0] - lengths[rows][0])
        end = int(value_ends[rows][-1])
        yield _Page(_header(last - first, len(body) + 4 * (end - begin)) + body, slice(begin, end))


def _header(slots: int, size: int) -> bytes:
    """Header of a data page of the first version."""
    page = {1: slots, 2: _PLAIN, 3: _RLE, 4: _RLE}
    told: thrift.Struct = {number: (thrift.I32, value) for number, value in page.items()}
    sizes = {1: _DATA_PAGE, 2: size, 3: size}
    whole: thrift.Struct = {number: (thrift.I32, value) for number, value in sizes.items()}
    return thrift.write(whole | {5: (thrift.STRUCT, told)})


def _packed(levels: NDArray[np.uint8], width: int) -> bytes:
    """Levels of `width` bits, 1 or 2, with their length before: one run."""
    if (levels == levels[0]).all():
        run = thrift.varint(len(levels) << 1) + bytes([levels[0]])
    else:
        bits = levels if width == 1 else np.stack([levels & 1, levels >> 1], axis=1).ravel()
        eights = -(-len(levels) // 8)
        packed = np.packbits(bits, bitorder="little").tobytes()
        run = thrift.varint(eights << 1 | 1) + packed.ljust(eights * width, b"\0")
    return len(run).to_bytes(4, "little") + run
