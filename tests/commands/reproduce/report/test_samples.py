"""Tests of reading the samples of an evaluation."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft_megatron.commands.reproduce.report.samples import Sample, read_samples, read_texts
from reft_megatron.errors import DataError
from reft_megatron.recipes.ballots import ballots_schema
from reft_megatron.types import Reason

ROWS = [
    {"problem_id": "b", "sample": 1, "reason": "timeout", "value": None, "right": False,
     "text": "", "score": None},
    {"problem_id": "a", "sample": 0, "reason": "correct", "value": 3.0, "right": True,
     "text": "three", "score": 1.5},
    {"problem_id": "b", "sample": 0, "reason": "wrong_value", "value": 4.0, "right": False,
     "text": "four", "score": -1.0},
]  # fmt: skip


def test_samples_are_in_order_by_problem(tmp_path: Path):
    pq.write_table(
        pa.Table.from_pylist(ROWS, schema=ballots_schema("number")), tmp_path / "ballots.parquet"
    )
    found = read_samples(tmp_path)
    assert found["a"] == [Sample(number=0, reason=Reason.CORRECT, value=3.0, right=True, score=1.5)]
    assert [(s.number, s.reason, s.value, s.score) for s in found["b"]] == [
        (0, Reason.WRONG_VALUE, 4.0, -1.0),
        (1, Reason.TIMEOUT, None, None),
    ]
    assert read_texts(tmp_path, {"b"}) == {("b", 1): "", ("b", 0): "four"}
    assert read_texts(tmp_path, set()) == {}


def test_an_evaluation_without_samples_has_none(tmp_path: Path):
    assert (read_samples(tmp_path), read_texts(tmp_path, {"a"})) == ({}, {})


def test_a_file_that_is_no_table_is_named(tmp_path: Path):
    (tmp_path / "ballots.parquet").write_text("oops")
    with pytest.raises(
        DataError, match=r"ballots\.parquet is no table of samples with the columns"
    ):
        read_samples(tmp_path)
