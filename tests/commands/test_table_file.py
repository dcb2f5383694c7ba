"""Files of rows, read and written."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft_megatron.commands.table_file import check_output, read_table
from reft_megatron.errors import DataError

ROWS = [{"id": 1, "text": "a"}, {"id": 2, "text": "\u00e9"}]


def write(path: Path, rows: list[dict[str, object]] = ROWS) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
@pytest.mark.parametrize("out", [".jsonl", ".parquet"])
def test_rows_keep_their_columns_and_get_more(suffix: str, out: str, tmp_path: Path) -> None:
    table = read_table(write(tmp_path / f"in{suffix}"))
    assert table.column("id") == [1, 2]
    assert table.texts("text") == ["a", "\u00e9"]
    output = tmp_path / f"out{out}"
    check_output(output, table, ["value"])
    table.write(output, {"value": [0.5, float("inf")]})
    read = read_table(output).records
    assert [{**record.fields, "value": 0} for record in read] == [
        {**row, "value": 0} for row in ROWS
    ]
    assert [record.fields["value"] for record in read] == [
        0.5,
        None if out == ".jsonl" else float("inf"),
    ]
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    kept = pa.table({"n": pa.array([1, 2], pa.int8()), "raw": pa.array([b"x", b"y"])})
    pq.write_table(kept, tmp_path / "in.parquet")
    table = read_table(tmp_path / "in.parquet")
    assert table.texts("raw") == [b"x", b"y"]
    table.write(tmp_path / "out.parquet", {"m": [1, 2]})
    assert pq.read_table(tmp_path / "out.parquet").schema.field("n").type == pa.int8()
    table.write(tmp_path / "out.jsonl", {"m": [1, 2]})
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[1]) == {
        "n": 2, "raw": "y", "m": 2,
    }  # fmt: skip


def test_numbers(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "in.jsonl", [{"n": n} for n in (1, 2.5, "1,203", "-4")]))
    assert table.numbers("n") == [1, 2.5, 1203, -4]


@pytest.mark.parametrize("value", [None, True, "many", "nan", [1], 10**400])
def test_no_numbers(value: object, tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "in.jsonl", [{"n": 1}, {"n": value}]))
    with pytest.raises(DataError, match=r"in\.jsonl: line 2: field 'n' is .*; wanted a finite num"):
        table.numbers("n")


def test_no_text_and_no_column(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "in.jsonl", [{"a": "x", "b": 1}, {"a": None}]))
    with pytest.raises(DataError, match=r"line 2: field 'a' is null; wanted text\."):
        table.texts("a")
    with pytest.raises(DataError, match=r"line 2: field 'b' is missing; .* \['a'\]"):
        table.texts("b")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.jsonl", None, "in.jsonl: No such file or directory. Wanted: JSON Lines"),
        ("in.parquet", None, "in.parquet: No such file or directory. Wanted: JSON Lines"),
        ("in.parquet", b"PAR0", "in.parquet: .*[Pp]arquet.* Wanted: JSON Lines"),
        ("in.txt", b"x", "in.txt: its name ends in '.txt'. Wanted: JSON Lines"),
        ("in.jsonl", b'{"a": 1}\n{"a"', "in.jsonl: line 2, column 5: not a JSON object"),
    ],
)
def test_files_that_cannot_be_read(
    name: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / name)


def test_a_parquet_file_without_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([], pa.int8())}), tmp_path / "in.parquet")
    with pytest.raises(DataError, match=r"in\.parquet: holds no rows\."):
        read_table(tmp_path / "in.parquet")


def test_outputs_that_are_refused(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "in.jsonl"))
    for name, message in (
        ("out.csv", "ends in .jsonl or .parquet, saw '.csv'"),
        ("none/out.jsonl", "there is no folder"),
        ("in.jsonl", "is the input too"),
    ):
        with pytest.raises(DataError, match=message):
            check_output(tmp_path / name, table, [])
    with pytest.raises(DataError, match=r"line 1: field 'text' is there already .* --prefix"):
        check_output(tmp_path / "out.jsonl", table, ["text"])


def test_a_mixed_column_does_not_fit_parquet(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "in.jsonl", [{"g": 1.5}, {"g": "x"}]))
    with pytest.raises(DataError, match=r"field 'g' does not fit Parquet: .* end in \.jsonl\."):
        check_output(tmp_path / "out.parquet", table, [])


def test_a_disk_that_does_not_take_it(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "in.jsonl"))
    with pytest.raises(DataError, match=r"out\.jsonl: cannot be written: No such file"):
        table.write(tmp_path / "none" / "out.jsonl", {"m": [1, 2]})
