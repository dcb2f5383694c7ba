"""Labelled completions from a file: JSON Lines, a JSON list, or Parquet.

A row holds `id`, `answer`, `completion` and `label` (`right` or `wrong`), and may hold `kind` and
`question`. Owns what these fields must look like; what is left over goes to a custom reward as
fields of the problem.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from reft_megatron.errors import DataError
from reft_megatron.tasks.gold import stated_answer
from reft_megatron.tasks.records import Record, read_records
from reft_megatron.types import AnswerKind, Labelled, Problem

__all__ = ["read_labelled"]

_FIELDS = {"id", "answer", "completion", "label", "kind", "question"}
_LABELS = {"right": True, "wrong": False}
_REMEDY = (
    "A row of labelled completions has the texts id, answer, completion, and label (right or wrong)"
)


def read_labelled(path: str, *, kind: AnswerKind) -> list[Labelled]:
    """The rows of the file at `path`, in order; their gold answers are of `kind`.

    Raises:
        DataError: the file cannot be read, a field is missing or no text, a gold answer is of
            another kind, or a label is another.
    """
    records = _parquet(path) if path.endswith(".parquet") else read_records(path, _REMEDY)
    return [_case(record, kind) for record in records]


def _case(record: Record, kind: AnswerKind) -> Labelled:
    label = record.text("label")
    if label not in _LABELS:
        raise record.error("label", f"is {label!r}; wanted right or wrong")
    completion = record.fields.get("completion")
    if not isinstance(completion, str):
        raise record.error("completion", f"is {json.dumps(completion, default=str):.40}, no text")
    return Labelled(
        problem=Problem(
            id=record.text("id"),
            question=record.text("question") if "question" in record.fields else "",
            answer=stated_answer(record, "answer", kind=kind),
            extra={name: value for name, value in record.fields.items() if name not in _FIELDS},
        ),
        completion=completion,
        right=_LABELS[label],
        kind=record.text("kind") if "kind" in record.fields else "",
    )


def _parquet(path: str) -> list[Record]:
    try:
        rows = pq.read_table(Path(path)).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}. {_REMEDY}.") from None
    return [
        Record(place=f"{path}: row {index}", index=index, fields=fields, remedy=_REMEDY)
        for index, fields in enumerate(rows)
    ]
