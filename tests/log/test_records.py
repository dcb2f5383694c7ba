"""Tests of the JSON lines files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reft_megatron.errors import DataError
from reft_megatron.log.records import RecordFile, read_records, read_series


def write(path: Path, steps: range, *, start_step: int = 0) -> None:
    file = RecordFile(path, start_step=start_step)
    for step in steps:
        file.write(step, {"train/loss": 1 / (step + 3), "train/lr": 1e-5 * step})
    file.close()


def test_a_resumed_file_is_the_uninterrupted_one(tmp_path: Path):
    write(tmp_path / "whole", range(1, 9))
    write(tmp_path / "resumed", range(1, 7))
    write(tmp_path / "resumed", range(4, 9), start_step=4)
    assert (tmp_path / "resumed").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_torn_last_line_is_dropped(tmp_path: Path):
    write(tmp_path / "whole", range(1, 6))
    write(tmp_path / "killed", range(1, 5))
    with (tmp_path / "killed").open("a") as file:
        file.write('{"step": 5, "train/lo')
    assert [record["step"] for record in read_records(tmp_path / "killed")] == [1, 2, 3, 4]
    write(tmp_path / "killed", range(5, 6), start_step=5)
    assert (tmp_path / "killed").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("line", ["{oops", "17", '"text"'])
def test_a_damaged_line_is_named(tmp_path: Path, line: str):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1}}\n{line}\n{{"step": 3}}\n')
    with pytest.raises(DataError) as error:
        read_records(path)
    assert str(error.value) == (
        f"{path}, line 2: wanted one JSON object per line, saw {line!r}. Repair or remove the file."
    )


def test_truncation_leaves_no_temporary_file(tmp_path: Path):
    write(tmp_path / "metrics.jsonl", range(3))
    write(tmp_path / "metrics.jsonl", range(2, 3), start_step=2)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_lines_are_on_disk_before_the_file_is_closed(tmp_path: Path):
    file = RecordFile(tmp_path / "metrics.jsonl", start_step=0)
    file.write(1, {"train/loss": 0.1})
    assert read_records(tmp_path / "metrics.jsonl") == [{"step": 1, "train/loss": 0.1}]
    file.close()


def test_an_empty_record_writes_nothing(tmp_path: Path):
    file = RecordFile(tmp_path / "timing.jsonl", start_step=0)
    file.write(1, {})
    file.close()
    assert (tmp_path / "timing.jsonl").read_bytes() == b""


@given(st.lists(st.floats()))
def test_floats_survive_exactly_and_others_become_null(
    tmp_path_factory: pytest.TempPathFactory, values: list[float]
):
    path = tmp_path_factory.mktemp("records") / "metrics.jsonl"
    file = RecordFile(path, start_step=0)
    for value in values:
        file.write(1, {"train/loss": value})
    file.close()
    expected = [value if math.isfinite(value) else None for value in values]
    seen = [json.loads(line)["train/loss"] for line in path.read_text().splitlines()]
    assert [repr(value) for value in seen] == [repr(value) for value in expected]


def test_series_join_both_files_and_leave_out_null(tmp_path: Path):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "train/loss": 2.0, "train/lr": 0.5}\n{"step": 2, "train/loss": null}\n'
        '{"step": 3, "train/loss": 1.0}\n'
    )
    (tmp_path / "timing.jsonl").write_text('{"step": 1, "time/update": 4.0}\n')
    assert read_series(tmp_path) == {
        "train/loss": ([1, 3], [2.0, 1.0]),
        "train/lr": ([1], [0.5]),
        "time/update": ([1], [4.0]),
    }
    assert read_series(tmp_path / "nowhere") == {}
