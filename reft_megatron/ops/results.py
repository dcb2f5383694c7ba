"""What became of a batch of programs or texts, as arrays.

Owns the columns, their shape, and the comparison with gold answers. The columns are made when they
are first asked for: most callers want two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from reft_megatron._extractor import Batch
from reft_megatron.ops.status import EXCEPTIONS, Status

__all__ = ["Gold", "Results", "Route", "flatten", "normal_letter"]

Item = TypeVar("Item", bound=np.generic)
Index = int | tuple[int, ...]

_NESTS = (list, tuple, np.ndarray)


class Route(IntEnum):
    """Who ran a row."""

    FAST = 0
    """The C++ core."""
    WORKER = 1
    """A CPython worker, or the fallback that was given."""
    DUPLICATE = 2
    """Nobody: another row has the same text, and its outcome counts."""


def normal_letter(text: str) -> str:
    """Normal form of a multiple-choice answer: lower case, no quotes, stripped."""
    return text.lower().replace('"', "").replace("'", "").strip()


def flatten(rows: Any) -> tuple[Sequence[object], tuple[int, ...]]:
    """The rows of a nest of lists, tuples and arrays in one sequence, and the nest's shape.

    Raises TypeError if `rows` is no such nest, ValueError if its branches differ in length.
    """
    if isinstance(rows, np.ndarray):
        return rows.ravel().tolist(), rows.shape
    if not isinstance(rows, list | tuple):
        raise TypeError(f"rows must be a list, tuple or array of them, saw {type(rows).__name__}.")
    if not rows or not isinstance(rows[0], _NESTS):
        return rows, (len(rows),)
    branches = [flatten(branch) for branch in rows]
    shapes = {shape for _, shape in branches}
    if len(shapes) != 1:
        raise ValueError(f"the branches of a nest must have one shape, saw {sorted(shapes)}.")
    return [row for flat, _ in branches for row in flat], (len(rows), *shapes.pop())


class Gold:
    """The right answers of a batch: numbers, or letters."""

    def __init__(
        self, answers: Any, *, tol: float, kind: Literal["number", "letter"] = "number"
    ) -> None:
        """`answers` broadcasts to the shape of the batch; a number that is None equals nothing."""
        self._tol = tol
        self._letters = kind == "letter"
        if self._letters:
            self._answers: NDArray[Any] = np.asarray(answers, dtype=object)
        else:
            self._answers = np.asarray(answers, dtype=np.float64)

    def fit(self, shape: tuple[int, ...]) -> None:
        """Raises ValueError if the answers do not broadcast to `shape`."""
        if self._answers.shape != shape:
            np.broadcast_to(self._answers, shape)

    def compare(self, results: Results) -> NDArray[np.bool_]:
        """True where a row has an answer and it is the right one."""
        if not self._letters:
            with np.errstate(invalid="ignore"):  # inf - inf
                close: NDArray[np.bool_] = np.abs(results.value - self._answers) <= self._tol
            return close
        wanted = [
            normal_letter(str(one)) for one in np.broadcast_to(self._answers, results.shape).flat
        ]
        found = [normal_letter(results.text(row)) for row in range(len(results))]
        same = np.array([a == b for a, b in zip(found, wanted, strict=True)], dtype=np.bool_)
        return same.reshape(results.shape) & results.extracted


class Results:
    """The outcomes of a batch. Arrays have the shape of the nest of rows that was given.

    An index `i` of a row counts through the flattened nest, or is a tuple of its coordinates.
    """

    def __init__(self, batch: Batch, shape: tuple[int, ...], gold: Gold | None = None) -> None:
        self._batch = batch
        self._gold = gold
        self.shape = shape
        """Shape of the nest, (N,) for a plain list."""

    def __len__(self) -> int:
        return len(self._batch)

    def __repr__(self) -> str:
        found = int(np.count_nonzero(self.extracted))
        return f"<Results of {len(self)} rows, {found} with an answer>"

    @cached_property
    def value(self) -> NDArray[np.float64]:
        """The answers; nan where there is none."""
        return self._column(self._batch.value)

    @cached_property
    def status(self) -> NDArray[np.uint8]:
        """`Status` of each row."""
        return self._column(self._batch.status)

    @cached_property
    def exc(self) -> NDArray[np.uint16]:
        """Number of the exception that ended a row (`exception` names it), 0 for none."""
        return self._column(self._batch.exc)

    @cached_property
    def route(self) -> NDArray[np.uint8]:
        """`Route` of each row."""
        return self._column(self._batch.route)

    @cached_property
    def steps(self) -> NDArray[np.uint32]:
        """Steps that the C++ core took: the same on every machine."""
        return self._column(self._batch.steps)

    @cached_property
    def nanos(self) -> NDArray[np.uint32]:
        """Nanoseconds that the C++ core took."""
        return self._column(self._batch.nanos)

    @cached_property
    def extracted(self) -> NDArray[np.bool_]:
        """True where there is an answer, finite or not: what earns ReFT's 0.1."""
        return self.status <= Status.OK_NONFINITE

    @cached_property
    def correct(self) -> NDArray[np.bool_] | None:
        """True where the answer is the gold one; None if no gold was given."""
        return None if self._gold is None else self._gold.compare(self)

    def text(self, i: Index) -> str:
        """str(result), at most 64 bytes of it, of a row that has an answer, if text was wanted."""
        return self._batch.text(self._row(i))

    def why(self, i: Index) -> str:
        """Which limit was met, or what is denied or unsupported, in a few words; or empty."""
        return self._batch.why(self._row(i))

    def type_name(self, i: Index) -> str:
        """Name of the type of the result; empty if there is none."""
        return self._batch.type_name(self._row(i))

    def exception(self, i: Index) -> str:
        """Name of the exception that ended the row; empty if none did."""
        number = int(self.exc.flat[self._row(i)])
        return ("", *EXCEPTIONS)[number]

    def _row(self, i: Index) -> int:
        row = int(np.ravel_multi_index(i, self.shape)) if isinstance(i, tuple) else i
        if row < 0:
            row += len(self)
        if not 0 <= row < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        return row

    def _column(self, make: Callable[[], NDArray[Item]]) -> NDArray[Item]:
        column = make()
        return column if len(self.shape) == 1 else column.reshape(self.shape)
