"""Data files as records: JSON lists and JSON Lines, told apart by their content.

Owns reading, and errors that name the file, the line (JSON Lines) or item (JSON list), the field
and the next step. Does not know what the fields mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reft_megatron.errors import DataError

__all__ = ["Record", "read_records"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One JSON object of a data file."""

    place: str
    """File and position as messages name them, such as `data/train.jsonl: line 3`."""
    index: int
    """Position in the file from 0: items of a list, lines of JSON Lines."""
    fields: dict[str, object]
    """What the object holds."""
    remedy: str
    """Where good data comes from; closes every message."""

    def text(self, field: str) -> str:
        """The stripped text of `field`.

        Raises:
            DataError: the field is missing, is not a string, or is blank.
        """
        if field not in self.fields:
            raise self.error(field, f"is missing; the fields are {sorted(self.fields)}")
        value = self.fields[field]
        if not isinstance(value, str):
            raise self.error(field, f"is {json.dumps(value)}; wanted a string")
        if not value.strip():
            raise self.error(field, "is blank; wanted text")
        return value.strip()

    def error(self, field: str, complaint: str) -> DataError:
        """The error that says what is wrong with `field`."""
        return DataError(f"{self.place}: field {field!r} {complaint}. {self.remedy}")


def read_records(path: str, remedy: str) -> list[Record]:
    """All records of the file at `path`, in order.

    A file whose first character is `[` is one JSON list; any other is JSON Lines.

    Raises:
        DataError: the file is missing, empty, not UTF-8, not JSON, or holds no objects.
    """
    text = _read(path, remedy)
    if not text.strip():
        raise DataError(f"{path}: is empty; wanted a JSON list or JSON Lines. {remedy}")
    decode = _decode_list if text.lstrip().startswith("[") else _decode_lines
    return [
        Record(place=place, index=index, fields=fields, remedy=remedy)
        for index, place, fields in decode(text, path, remedy)
    ]


def _read(path: str, remedy: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}. {remedy}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8. {remedy}") from None


_UNREADABLE = (ValueError, RecursionError)
"""What json raises for JSON that Python does not hold: thousands of digits, or of brackets."""

_Decoded = Iterator[tuple[int, str, dict[str, object]]]
"""Index, place and fields of each object."""


def _decode_list(text: str, path: str, remedy: str) -> _Decoded:
    try:
        items = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{path}: line {error.lineno}, column {error.colno}"
        raise DataError(f"{place}: not a JSON list: {error.msg}. {remedy}") from None
    except _UNREADABLE as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}. {remedy}") from None
    if not items:
        raise DataError(f"{path}: is an empty list; wanted items. {remedy}")
    for index, item in enumerate(items):
        place = f"{path}: item {index}"
        yield index, place, _object(item, place, remedy)


def _decode_lines(text: str, path: str, remedy: str) -> _Decoded:
    for index, line in enumerate(text.split("\n")):
        if not line.strip():
            continue
        place = f"{path}: line {index + 1}"
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            complaint = f"column {error.colno}: not a JSON object: {error.msg}"
            raise DataError(f"{place}, {complaint}. {remedy}") from None
        except _UNREADABLE as error:
            raise DataError(f"{place}: cannot be read as JSON: {error}. {remedy}") from None
        yield index, place, _object(value, place, remedy)


def _object(value: object, place: str, remedy: str) -> dict[str, object]:
    if isinstance(value, dict):
        return value
    raise DataError(f"{place}: is {json.dumps(value):.40}; wanted a JSON object. {remedy}")
