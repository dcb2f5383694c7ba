"""Tables of an operation on all pairs of many values, in the extractor and in CPython.

A table is one program: it goes through all pairs and folds what each gives (type and repr, or the
exception and its message) into one hash. Where the hashes differ the table is halved until the cell
is found.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from reft_megatron.ops.extractor import Extractor, Limits, Status
from tools.fuzzing.oracle import Oracle

Answer = Callable[[str], str]


class Table(NamedTuple):
    """All `expression` of a and b, for which `guard` holds."""

    expression: str
    lefts: list[str]
    rights: list[str]
    guard: str = "True"
    partial: bool = False

    def code(self, rows: range, columns: range) -> str:
        """A program that folds a part of the table into one number."""
        lefts = ", ".join(self.lefts[row] for row in rows)
        rights = ", ".join(self.rights[column] for column in columns)
        return PROGRAM.format(table=self, lefts=lefts, rights=rights)


PROGRAM = """\
import math
def solution():
    digest = 0
    for a in [{lefts}]:
        for b in [{rights}]:
            if not ({table.guard}):
                continue
            try:
                value = {table.expression}
                text = f'{{type(value).__name__}} {{value!r}};'
            except Exception as error:
                text = f'{{type(error).__name__}} {{error}};'
            digest = hash((digest, text))
    return str(digest)
"""


@contextmanager
def extractor_answers() -> Iterator[Answer]:
    limits = Limits(max_steps=1 << 30, max_memory_bytes=1 << 30, max_source_bytes=1 << 24)
    with Extractor(threads=1, limits=limits, fallback="none") as made:

        def answer(code: str) -> str:
            results = made.run([code], want_text=True)
            name = Status(int(results.status[0])).name
            return results.text(0) or f"{name} {results.exception(0)} {results.why(0)}"

        yield answer


@contextmanager
def cpython_answers() -> Iterator[Answer]:
    """Skips the test where there is no CPython 3.11."""
    try:
        made = Oracle(sys.executable, seconds=10)
    except ValueError as error:
        pytest.skip(str(error))
    with made as oracle:

        def answer(code: str) -> str:
            made = oracle.answers([code])[0]
            return made.text or f"{made.kind} {made.exception}"

        yield answer


def first_difference(table: Table, answers: tuple[Answer, Answer]) -> str | None:
    """The first cell that the two answer differently, told; None if none is."""
    return difference(table, answers, (range(len(table.lefts)), range(len(table.rights))))


def difference(
    table: Table, answers: tuple[Answer, Answer], part: tuple[range, range]
) -> str | None:
    code = table.code(*part)
    found, wanted = (answer(code) for answer in answers)
    if found == wanted:
        return None
    for smaller in halves(part):
        if (told := difference(table, answers, smaller)) is not None:
            return told
    # One cell that is not supported does not spoil the rest of a table that allows it.
    if table.partial and found.startswith("UNSUPPORTED"):
        return None
    code = code.replace("return str(digest)", "return text")
    found, wanted = (answer(code) for answer in answers)
    return f"{code}\nextractor: {found}\ncpython:   {wanted}"


def halves(part: tuple[range, range]) -> Iterator[tuple[range, range]]:
    """The part in two; nothing if it is one cell."""
    rows, columns = part
    middle = max(len(rows), len(columns)) // 2
    if len(rows) >= len(columns) > 0 and middle:
        yield rows[:middle], columns
        yield rows[middle:], columns
    elif middle:
        yield rows, columns[:middle]
        yield rows, columns[middle:]
