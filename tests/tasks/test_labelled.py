"""Labelled completions are read from JSON Lines and Parquet, and bad rows are named."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft_megatron.errors import DataError
from reft_megatron.tasks.labelled import read_labelled
from reft_megatron.types import AnswerKind, Labelled, Problem

ROW = {"id": "a_1", "answer": "3", "completion": "def solution():", "label": "wrong"}
MORE = {**ROW, "id": "a_2", "label": "right", "kind": "gold", "question": "How?", "tests": "x"}


def written(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_rows_become_cases(tmp_path: Path) -> None:
    cases = read_labelled(written(tmp_path / "cases.jsonl", [ROW, MORE]), kind="number")
    assert cases == [
        Labelled(
            problem=Problem(id="a_1", question="", answer="3"),
            completion="def solution():",
            right=False,
            kind="",
        ),
        Labelled(
            problem=Problem(id="a_2", question="How?", answer="3", extra={"tests": "x"}),
            completion="def solution():",
            right=True,
            kind="gold",
        ),
    ]
    pq.write_table(pa.Table.from_pylist([MORE]), tmp_path / "cases.parquet")
    assert read_labelled(str(tmp_path / "cases.parquet"), kind="number") == cases[1:]


def test_an_empty_completion_is_one(tmp_path: Path) -> None:
    path = written(tmp_path / "cases.jsonl", [{**ROW, "completion": ""}])
    [case] = read_labelled(path, kind="number")
    assert case.completion == ""


@pytest.mark.parametrize(
    ("kind", "answer", "wanted"),
    [
        ("number", "1,203.50", "1203.50"),
        ("number", 3, "3"),
        ("letter", "B", "b"),
        ("text", "1,203 Apples", "1,203 Apples"),
    ],
)
def test_a_gold_answer_is_read_as_a_tasks_is(
    tmp_path: Path, kind: AnswerKind, answer: object, wanted: str
) -> None:
    path = written(tmp_path / "cases.jsonl", [{**ROW, "answer": answer}])
    assert [case.problem.answer for case in read_labelled(path, kind=kind)] == [wanted]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"label": "maybe"}, r"line 1: field 'label' is 'maybe'; wanted right or wrong"),
        ({"completion": 3}, r"line 1: field 'completion' is 3, no text"),
        ({"answer": [3]}, r"line 1: field 'answer' is \[3\]; wanted a string"),
        ({"answer": "b"}, r"line 1: field 'answer' holds the answer 'b'; wanted a finite number"),
    ],
)
def test_a_bad_field_is_named(tmp_path: Path, change: dict[str, object], told: str) -> None:
    path = written(tmp_path / "cases.jsonl", [{**ROW, **change}])
    with pytest.raises(DataError, match=told):
        read_labelled(path, kind="number")


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "cases.parquet").write_text("no")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_labelled(str(tmp_path / "cases.parquet"), kind="number")
