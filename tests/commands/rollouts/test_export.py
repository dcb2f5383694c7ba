"""Rollouts in one file."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft_megatron.cli import main
from reft_megatron.rollouts.ledger import Ledger
from reft_megatron.rollouts.schema import LEDGER, to_table


def wanted(run: Path, *iterations: int) -> pa.Table:
    """The rows of the ledger with their iterations in front."""
    tables = {n: Ledger(run / "ledger").table(n) for n in iterations}
    numbers = [n for n, table in tables.items() for _ in range(table.num_rows)]
    rows = pa.concat_tables(tables.values())
    name = pa.field("iteration", pa.int32(), nullable=False)
    return rows.add_column(0, name, pa.array(numbers, pa.int32()))


def test_parquet_has_the_rows_of_the_ledger(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / "all.parquet"
    assert main(["rollouts", str(run), "--export", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: 7 rollouts\n"
    found = pq.read_table(path)
    assert found.schema.equals(
        pa.schema([pa.field("iteration", pa.int32(), nullable=False), *LEDGER])
    )
    assert found.equals(wanted(run, 1, 2, 3))
    assert sorted(p.name for p in run.iterdir()) == ["all.parquet", "ledger"]


def test_lines_are_objects_with_lists(run: Path) -> None:
    path = run / "some.jsonl"
    assert main(["rollouts", str(run), "--iteration", "2-3", "--export", str(path)]) == 0
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == wanted(run, 2, 3).to_pylist()
    assert lines[1]["values"] is None


def test_filters_apply(run: Path) -> None:
    path = run / "cut.parquet"
    assert main(["rollouts", str(run), "--truncated", "--export", str(path)]) == 0
    assert pq.read_table(path)["reason"].to_pylist() == ["timeout"]


def test_json_has_no_nan(run: Path) -> None:
    ledger = Ledger(run / "ledger")
    rollouts = ledger.read(2)
    values = np.full(len(rollouts[0].completion.token_ids), 0.5, np.float32)
    values[[0, 2]] = np.nan, np.inf
    ledger.append(5, 0, to_table(rollouts, {"values": [values]}))
    ledger.seal(5, data_size=1)
    path = run / "bad.jsonl"
    assert main(["rollouts", str(run), "--iteration", "5", "--export", str(path)]) == 0
    line = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert line["values"] == [None, 0.5, None, *[0.5] * (len(values) - 3)]
    assert line["text"] == rollouts[0].text


def test_a_file_that_is_there_is_kept(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / "x.jsonl"
    path.write_text("mine")
    arguments = ["rollouts", str(run), "--export", str(path)]
    assert main(arguments) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == f"reft-megatron: DataError: {path}: is there already; --force replaces it.\n"
    assert path.read_text() == "mine"
    assert main([*arguments, "--force"]) == 0
    assert len(path.read_text().splitlines()) == 7


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.csv", "an export ends in .parquet or .jsonl, saw '.csv'."),
        ("none/x.jsonl", "there is no folder RUN/none; make it first."),
        (
            "ledger/iteration-000001/rank-00000.parquet",
            "lies in the ledger; export to a place outside it.",
        ),
    ],
)
def test_places_that_are_none(
    run: Path, name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rollouts", str(run), "--force", "--export", str(run / name)]) == 1
    told = f"reft-megatron: DataError: {run / name}: {message.replace('RUN', str(run))}\n"
    assert capsys.readouterr().err == told


def test_a_full_disk_leaves_what_was_there(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / "x.parquet"
    path.write_text("mine")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A limit on the size of files stands for a full disk: the write fails half-way.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        assert main(["rollouts", str(run), "--export", str(path), "--force"]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(f"reft-megatron: DataError: {path}: cannot be written: ")
    assert path.read_text() == "mine"
    assert sorted(p.name for p in run.iterdir()) == ["ledger", "x.parquet"]
