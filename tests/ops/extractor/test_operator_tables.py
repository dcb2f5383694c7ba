"""Every operator on every pair of many values, in the extractor and in CPython.

A table is one program: it goes through all pairs and folds what each gives (type and repr, or the
exception and its message) into one hash. Where the hashes differ the table is halved until the cell
is found.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from reft_megatron.ops.extractor import Extractor, Limits, Status
from tools.fuzzing.oracle import Oracle


def sections() -> dict[str, list[str]]:
    text = Path(__file__).with_name("operators.txt").read_text("utf-8")
    parts = re.split(r"^\[(\w+)\]$", text, flags=re.MULTILINE)[1:]
    return {name: part.split() for name, part in zip(parts[::2], parts[1::2], strict=True)}


def quoted(name: str, *more: str) -> list[str]:
    return [f"'{word}'" for word in (*sections()[name], *more)]


INTEGERS, FLOATS = sections()["integers"], sections()["floats"]
OTHERS = [
    *("True", "False", "None", "''", "'a'", "'12'", "'abc'", "'\\u20ac'", "()", "(1, 2)"),
    *("(1.0, 'x')", "[]", "[1]", "[2, 'b']", "{}", "{1: 2}", "set()", "{1, 2}", "frozenset({1})"),
    "range(3)",
]
VALUES = [*INTEGERS, *FLOATS, *OTHERS]
NUMBERS = [*INTEGERS, *FLOATS, "True", "False"]
SMALL = [*map(str, range(-9, 70)), *FLOATS, *OTHERS]
FEW = [*map(str, range(-2, 30))]
TEXTS = [
    *(
        form.format(value)
        for value in INTEGERS + FLOATS
        for form in ("str({})", "' +%s\\n' % ({})")
    ),
    *(f"repr({value}).replace('e', 'E') + 'x'[:{value} == 1]" for value in FLOATS),
    *quoted("texts", "1 2", " ", "\\t7\\x0b", "1\\x00", ""),
]
SPECS = quoted("specs", "", " d", " .2f", " >8", "\\u20ac^9")
PERCENTS = quoted("percents", "% d", "% .1f", "none", "%d %%")


class Table(NamedTuple):
    """All `expression` of a and b, for which `guard` holds."""

    expression: str
    lefts: list[str] = VALUES
    rights: list[str] = VALUES
    guard: str = "True"

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

NONE = ["0"]
NUMERIC = "isinstance(a, (int, float)) and isinstance(b, (int, float))"
SHORT = "-300 < {0} < 300 if isinstance({0}, int) else True"
# The repr of other characters is not known to the extractor.
LATIN = "('c' not in b or not isinstance(a, int) or a < 256 or a > 0x10FFFF)"
# Of others the power is complex.
REAL = "not (isinstance(a, (int, float)) and a < 0 and isinstance(b, float))"
TABLES = [
    *(Table(f"a {operator} b") for operator in sections()["operators"]),
    Table("a * b", guard=f"{NUMERIC} or ({SHORT.format('a')}) and ({SHORT.format('b')})"),
    Table("a ** b", rights=SMALL, guard=REAL),
    Table("a << b", rights=SMALL),
    Table("a >> b", rights=[*SMALL, *INTEGERS]),
    Table("a in b", guard="a == a"),
    Table("(a,) == (b,)", guard="a == a"),
    Table("a and b or a"),
    Table("divmod(a, b)"),
    Table("pow(a, b)", rights=SMALL, guard=REAL),
    Table("round(a, b)", rights=SMALL),
    Table("[a, b] < [b, a]", NUMBERS, NUMBERS, "a == a and b == b"),
    Table("max(a, b), min(a, b)", NUMBERS, NUMBERS),
    Table("hash((a, b)), {a: 1, b: 2}, {a, b}", NUMBERS, NUMBERS, "a == a and b == b"),
    *(Table(f"math.{name}(a, b)", NUMBERS, NUMBERS) for name in sections()["functions"]),
    Table("math.gcd(a, b), math.lcm(a, b)", INTEGERS, INTEGERS),
    Table("pow(a, b, 1000007), pow(7, b, a)", INTEGERS[:-11], INTEGERS[:-11]),
    Table("math.ldexp(a, b)", NUMBERS, [*map(str, range(-1100, 1100, 13))]),
    Table("math.comb(a, b), math.perm(a, b)", SMALL, FEW),
    Table("math.factorial(a)", SMALL, NONE),
    Table("sum([a, b, a])", NUMBERS, NUMBERS),
    Table("math.fsum([a, b, a, -b])", NUMBERS, NUMBERS),
    Table("format(a, b)", VALUES, SPECS, LATIN),
    Table("b % a", VALUES, PERCENTS, LATIN),
    Table("b % (a,)", VALUES, PERCENTS, LATIN),
    Table("b % (a, a)", VALUES, PERCENTS, f"{LATIN} and ('*' not in b or ({SHORT.format('a')}))"),
    Table("float(a)", TEXTS, NONE),
    Table("int(a)", TEXTS, NONE),
    Table(
        "int(a, b)", TEXTS, ["0", "1", "2", "3", "8", "10", "16", "36", "37", "-1", "True", "2.0"]
    ),
    Table("repr(a), a.upper(), a.isdigit(), a.isnumeric(), a.isdecimal()", TEXTS, NONE),
    *(Table(expression, VALUES, NONE) for expression in sections()["unary"]),
]


Answer = Callable[[str], str]


@pytest.fixture(scope="module")
def extractor() -> Iterator[Answer]:
    limits = Limits(max_steps=1 << 30, max_memory_bytes=1 << 30, max_source_bytes=1 << 20)
    with Extractor(threads=1, limits=limits, fallback="none") as made:

        def answer(code: str) -> str:
            results = made.run([code], want_text=True)
            name = Status(int(results.status[0])).name
            return results.text(0) or f"{name} {results.exception(0)} {results.why(0)}"

        yield answer


@pytest.fixture(scope="module")
def cpython() -> Iterator[Answer]:
    try:
        made = Oracle(sys.executable)
    except ValueError as error:
        pytest.skip(str(error))
    with made as oracle:

        def answer(code: str) -> str:
            made = oracle.answers([code])[0]
            return made.text or f"{made.kind} {made.exception}"

        yield answer


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.expression)
def test_table(extractor: Answer, cpython: Answer, table: Table) -> None:
    wrong = difference(
        table, (extractor, cpython), (range(len(table.lefts)), range(len(table.rights)))
    )
    assert wrong is None, wrong


def test_a_wrong_cell_is_found(cpython: Answer) -> None:
    table = Table("a + b", [str(n) for n in range(20)], [str(n) for n in range(9)])

    def wrong(code: str) -> str:
        return cpython(code.replace("13", "14"))

    told = difference(table, (wrong, cpython), (range(20), range(9)))
    assert told is not None
    assert "for a in [13]:" in told
    assert "for b in [0]:" in told


def difference(
    table: Table, answers: tuple[Answer, Answer], part: tuple[range, range]
) -> str | None:
    """The first cell that differs, told; None if none does."""
    code = table.code(*part)
    found, wanted = (answer(code) for answer in answers)
    if found == wanted:
        return None
    for side in (0, 1):
        middle = len(part[side]) // 2
        for half in (part[side][:middle], part[side][middle:]) if middle else ():
            smaller = (half, part[1]) if side == 0 else (part[0], half)
            if (told := difference(table, answers, smaller)) is not None:
                return told
    return f"{code}\nextractor: {found}\ncpython:   {wanted}"
