"""What the samples of one evaluation answered, read from `ballots.parquet`.

Owns the columns. Texts are read apart and only of some problems, for there may be far more of them
than a page can show.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from reft_megatron.errors import DataError
from reft_megatron.types import Reason

__all__ = ["Sample", "read_samples", "read_texts"]

_COLUMNS = ("problem_id", "sample", "reason", "value", "letter", "right", "score")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sampled completion, without its text."""

    number: int
    """Which of its problem's samples it is, from 0."""
    reason: Reason
    """What the checker said."""
    value: float | str | None
    """Its answer; None if it has none."""
    right: bool
    """Whether the answer is right."""
    score: float | None
    """Margin of the reranker; None if it was not scored."""


def read_samples(evaluation: Path) -> dict[str, list[Sample]]:
    """The samples of every problem, in order, by its id; empty if nothing was sampled.

    Raises DataError for a file that is no such table.
    """
    table = _read(evaluation / "ballots.parquet", _COLUMNS)
    found: dict[str, list[Sample]] = {}
    for row in table.to_pylist() if table else ():
        found.setdefault(row["problem_id"], []).append(
            Sample(
                number=row["sample"],
                reason=Reason(row["reason"]),
                value=row["value"] if row["letter"] is None else row["letter"],
                right=row["right"],
                score=row["score"],
            )
        )
    return {name: sorted(samples, key=lambda s: s.number) for name, samples in found.items()}


def read_texts(evaluation: Path, problems: Collection[str]) -> dict[tuple[str, int], str]:
    """Problem and number of a sample -> its text, of some of the problems."""
    chosen = [("problem_id", "in", sorted(problems))]
    table = _read(evaluation / "ballots.parquet", ("problem_id", "sample", "text"), chosen)
    rows = table.to_pylist() if table else []
    return {(row["problem_id"], row["sample"]): row["text"] for row in rows}


def _read(
    path: Path, columns: tuple[str, ...], chosen: list[tuple[str, str, list[str]]] | None = None
) -> pa.Table | None:
    if not path.exists() or (chosen and not chosen[0][2]):
        return None
    try:
        return pq.read_table(path, columns=list(columns), filters=chosen)
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        raise DataError(
            f"{path} is no table of samples with the columns {', '.join(columns)}: {error}. Run "
            "the evaluation again."
        ) from None
