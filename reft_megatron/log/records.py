"""JSON lines files of a run: append-only, resumable bit for bit.

Owns how the record of one step becomes a line and back. Floats are written as Python's `repr`, so
that reading and writing again gives the same bytes; a value that is not finite becomes `null`. A
line torn by a killed process is dropped if it is the last one, and is an error anywhere else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reft_megatron.errors import DataError
from reft_megatron.files import write_whole

__all__ = ["RecordFile", "Series", "read_records", "read_series"]

Series = dict[str, tuple[list[int], list[float]]]
"""For each metric the steps it was logged at and its finite values there."""


class RecordFile:
    """A JSON lines file open for appending, truncated to the steps before `start_step`."""

    def __init__(self, path: Path, *, start_step: int) -> None:
        """Drop the records of `start_step` and later (atomically), then open for appending.

        Raises DataError for a damaged file.
        """
        kept = [record for record in read_records(path) if record["step"] < start_step]
        write_whole(path, "".join(map(_line, kept)))
        self._file = path.open("a", encoding="ascii")

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one record and hand it to the operating system; an empty one writes nothing."""
        if metrics:
            values = {k: v if math.isfinite(v) else None for k, v in metrics.items()}
            self._file.write(_line({"step": step, **values}))
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_records(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON lines file, in order; empty if there is no such file.

    Raises DataError, naming file and line, for a line that is no JSON object, unless it is the
    last one and has no line end: a killed process leaves such a line behind.
    """
    if not path.exists():
        return []
    records = []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            records.append(dict(json.loads(line)))
        except (ValueError, TypeError):
            if number == len(lines):
                break
            raise DataError(
                f"{path}, line {number}: wanted one JSON object per line, saw {line[:60]!r}. "
                "Repair or remove the file."
            ) from None
    return records


def read_series(folder: Path) -> Series:
    """Every metric of a run's folder, from its `metrics.jsonl` and `timing.jsonl`."""
    series: Series = {}
    for record in read_records(folder / "metrics.jsonl") + read_records(folder / "timing.jsonl"):
        for name, value in record.items():
            if name != "step" and value is not None:
                steps, values = series.setdefault(name, ([], []))
                steps.append(record["step"])
                values.append(value)
    return series


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, allow_nan=False) + "\n"
