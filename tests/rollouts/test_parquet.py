"""Files of lists: what pyarrow reads of them is what was written, whatever the lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft_megatron.errors import DataError
from reft_megatron.rollouts import parquet, thrift
from reft_megatron.rollouts.parquet import write_table
from reft_megatron.rollouts.schema import LEDGER


def made(rows: int, *, nulls: float = 0.0, empty: float = 0.0, seed: int = 0) -> pa.Table:
    """A ledger's table; shares of the lists are null, where they may be, and without numbers."""
    rng = np.random.default_rng(seed)

    def column(field: pa.Field) -> pa.Array:
        if pa.types.is_list(field.type):
            lengths = rng.integers(1, 9, rows) * (rng.random(rows) >= empty)
            lists = [rng.integers(0, 1000, n).tolist() for n in lengths]
            return pa.array(
                [None if field.nullable and rng.random() < nulls else x for x in lists], field.type
            )
        if field.type == pa.string():
            return pa.array([f"text {number % 7}" for number in range(rows)], field.type)
        values = [None if field.nullable and n % 3 else bool(n % 2) for n in range(rows)]
        if field.type != pa.bool_():
            values = [value if value is None else n for n, value in enumerate(values)]
        return pa.array(values, field.type)

    return pa.Table.from_arrays([column(field) for field in LEDGER], schema=LEDGER)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.parquet"


@pytest.mark.parametrize("nulls", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("empty", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("rows", [0, 1, 7, 8, 300])
def test_what_is_read_is_what_was_written(path: Path, rows: int, empty: float, nulls: float):
    table = made(rows, nulls=nulls, empty=empty)
    write_table(path, table)
    found = pq.read_table(path)
    assert found.schema.equals(LEDGER, check_metadata=True)
    assert found.equals(table)
    assert len(found.to_pandas()) == rows


def test_pages_and_groups_of_rows_are_cut_between_rows(path: Path, monkeypatch):
    monkeypatch.setattr(parquet, "_PAGE_SLOTS", 100)
    monkeypatch.setattr(parquet, "_MOST_ROWS", 128)
    table = made(1000, nulls=0.1, empty=0.1)
    write_table(path, table)
    assert pq.read_metadata(path).num_row_groups == 8
    assert pq.read_table(path).equals(table)
    with pq.ParquetFile(path) as file:
        batches = list(file.iter_batches(37, columns=["token_ids", "values"]))
    assert pa.Table.from_batches(batches).equals(table.select(["token_ids", "values"]))


def test_a_row_may_be_longer_than_a_page(path: Path, monkeypatch):
    monkeypatch.setattr(parquet, "_PAGE_SLOTS", 100)
    lists = [[1] * 1000, [], [2], [3] * 250]
    table = made(4).set_column(4, LEDGER.field(4), pa.array(lists, LEDGER.field(4).type))
    write_table(path, table)
    assert pq.read_table(path)["prompt_ids"].to_pylist() == lists


def test_parts_of_tables_are_written_as_they_are(path: Path):
    """Slices, several chunks, and null lists that hide numbers."""
    table = pa.concat_tables([made(50), made(30, nulls=0.5, seed=1).slice(3, 20)]).slice(2)
    write_table(path, table)
    assert pq.read_table(path).equals(table)
    field = LEDGER.field("values")
    hidden = pa.ListArray.from_arrays(
        pa.array([0, 2, 5, 6], pa.int32()),
        pa.array(np.arange(6, dtype=np.float32)),
        type=field.type,
        mask=pa.array([False, True, False]),
    )
    where = LEDGER.get_field_index("values")
    write_table(path, made(3).set_column(where, field, hidden))
    assert pq.read_table(path)["values"].to_pylist() == [[0, 1], None, [5]]


def test_a_table_without_chunks_is_a_file_without_rows(path: Path):
    write_table(path, pa.Table.from_batches([], LEDGER))
    assert pq.read_table(path).equals(LEDGER.empty_table())


@pytest.mark.parametrize(
    ("element", "told"),
    [
        (pa.field("element", pa.int32()), "int32 that may be null"),
        (pa.field("element", pa.int64(), nullable=False), "int64, and"),
        (pa.field("element", pa.float64(), nullable=False), "double, and"),
    ],
)
def test_lists_of_anything_else_are_refused(path: Path, element: pa.Field, told: str):
    field = pa.field("token_ids", pa.list_(element), nullable=False)
    where = LEDGER.get_field_index("token_ids")
    table = made(3).set_column(where, field, pa.array([[1], [2, 3], []], field.type))
    with pytest.raises(DataError, match=f"column token_ids has lists of {told}.*Cast the table"):
        write_table(path, table)
    assert not path.exists()
    write_table(path, table.cast(LEDGER))
    assert pq.read_table(path)["token_ids"].to_pylist() == [[1], [2, 3], []]


def test_lists_that_are_missing_where_they_may_not_are_refused(path: Path):
    field = LEDGER.field("token_ids")
    where = LEDGER.get_field_index("token_ids")
    table = made(2).set_column(where, field, pa.array([None, [1]], field.type))
    with pytest.raises(DataError, match=r"token_ids may not be null, and 1 of its lists are"):
        write_table(path, table)


def footer_of(path: Path) -> thrift.Struct:
    content = path.read_bytes()
    return thrift.read(content[-8 - int.from_bytes(content[-8:-4], "little") : -8])


def test_metadata_of_a_list_counts_its_numbers_and_nothing_that_is_not_there(path: Path):
    """By the fields' numbers in parquet.thrift: libraries hide what they do not understand."""
    table = made(300, nulls=0.2, empty=0.2)
    write_table(path, table)
    group = footer_of(path)[4][1][1][0]
    sizes, first_pages = 0, set()
    for i, column in enumerate(group[1][1][1]):
        meta = column[3][1]
        sizes += meta[6][1]
        first_pages.add(meta[9][1])
        if not pa.types.is_list(table.schema.field(i).type):
            continue
        # Type, encodings, path, codec, values, two sizes, first page: no dictionary (11), no
        # statistics (12), no counts of pages or levels (13, 16), which would be of empty lists.
        assert {*meta} == {1, 2, 3, 4, 5, 6, 7, 9}
        lists = table.column(i).to_pylist()
        assert meta[5][1] == sum(max(len(x or ()), 1) for x in lists)
        assert meta[6] == meta[7]
        assert {*meta[2][1][1]} == {0, 3}, "plain, with levels in runs"
    assert group[2][1] == group[6][1] == sizes
    assert group[3][1] == table.num_rows
    assert len(first_pages) == table.num_columns


def test_metadata_is_that_of_pyarrows_own_file(path: Path, tmp_path: Path):
    table = made(300, nulls=0.2, empty=0.2)
    write_table(path, table)
    pq.write_table(table, tmp_path / "own.parquet", **parquet._OPTIONS)
    found, wanted = (pq.read_metadata(p) for p in (path, tmp_path / "own.parquet"))
    assert found.schema.equals(wanted.schema)
    for column in range(found.num_columns):
        ours, its = (m.row_group(0).column(column) for m in (found, wanted))
        assert (ours.path_in_schema, ours.num_values) == (its.path_in_schema, its.num_values)
        assert ours.statistics == its.statistics or not its.is_stats_set
    sizes = [found.row_group(0).column(c).total_uncompressed_size for c in range(found.num_columns)]
    assert found.row_group(0).total_byte_size == sum(sizes)
    assert path.stat().st_size > sum(sizes)
