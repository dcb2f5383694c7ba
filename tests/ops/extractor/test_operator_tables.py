"""Every operator on every pair of many values, in the extractor and in CPython."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ops.extractor.tables import (
    Answer,
    Table,
    cpython_answers,
    extractor_answers,
    first_difference,
)


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


def table(
    expression: str,
    lefts: list[str] | None = None,
    rights: list[str] | None = None,
    guard: str = "True",
) -> Table:
    return Table(expression, lefts or VALUES, rights or VALUES, guard)


NONE = ["0"]
NUMERIC = "isinstance(a, (int, float)) and isinstance(b, (int, float))"
SHORT = "-300 < {0} < 300 if isinstance({0}, int) else True"
# The repr of other characters is not known to the extractor.
LATIN = "('c' not in b or not isinstance(a, int) or a < 256 or a > 0x10FFFF)"
# Of others the power is complex.
REAL = "not (isinstance(a, (int, float)) and a < 0 and isinstance(b, float))"
TABLES = [
    *(table(f"a {operator} b") for operator in sections()["operators"]),
    table("a * b", guard=f"{NUMERIC} or ({SHORT.format('a')}) and ({SHORT.format('b')})"),
    table("a ** b", rights=SMALL, guard=REAL),
    table("a << b", rights=SMALL),
    table("a >> b", rights=[*SMALL, *INTEGERS]),
    table("a in b", guard="a == a"),
    table("(a,) == (b,)", guard="a == a"),
    table("a and b or a"),
    table("divmod(a, b)"),
    table("pow(a, b)", rights=SMALL, guard=REAL),
    table("round(a, b)", rights=SMALL),
    table("[a, b] < [b, a]", NUMBERS, NUMBERS, "a == a and b == b"),
    table("max(a, b), min(a, b)", NUMBERS, NUMBERS),
    table("hash((a, b)), {a: 1, b: 2}, {a, b}", NUMBERS, NUMBERS, "a == a and b == b"),
    *(table(f"math.{name}(a, b)", NUMBERS, NUMBERS) for name in sections()["functions"]),
    table("math.gcd(a, b), math.lcm(a, b)", INTEGERS, INTEGERS),
    table("pow(a, b, 1000007), pow(7, b, a)", INTEGERS[:-11], INTEGERS[:-11]),
    table("math.ldexp(a, b)", NUMBERS, [*map(str, range(-1100, 1100, 13))]),
    table("math.comb(a, b), math.perm(a, b)", SMALL, FEW),
    table("math.factorial(a)", SMALL, NONE),
    table("sum([a, b, a])", NUMBERS, NUMBERS),
    table("math.fsum([a, b, a, -b])", NUMBERS, NUMBERS),
    table("format(a, b)", VALUES, SPECS, LATIN),
    table("b % a", VALUES, PERCENTS, LATIN),
    table("b % (a,)", VALUES, PERCENTS, LATIN),
    table("b % (a, a)", VALUES, PERCENTS, f"{LATIN} and ('*' not in b or ({SHORT.format('a')}))"),
    table("float(a)", TEXTS, NONE),
    table("int(a)", TEXTS, NONE),
    table(
        "int(a, b)", TEXTS, ["0", "1", "2", "3", "8", "10", "16", "36", "37", "-1", "True", "2.0"]
    ),
    table("repr(a), a.upper(), a.isdigit(), a.isnumeric(), a.isdecimal()", TEXTS, NONE),
    *(table(expression, VALUES, NONE) for expression in sections()["unary"]),
]


@pytest.fixture(scope="module")
def answers() -> Iterator[tuple[Answer, Answer]]:
    with extractor_answers() as extractor, cpython_answers() as cpython:
        yield extractor, cpython


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.expression)
def test_table(answers: tuple[Answer, Answer], table: Table) -> None:
    wrong = first_difference(table, answers)
    assert wrong is None, wrong


def test_a_wrong_cell_is_found(answers: tuple[Answer, Answer]) -> None:
    table = Table("a + b", [str(n) for n in range(20)], [str(n) for n in range(9)])

    def wrong(code: str) -> str:
        return answers[1](code.replace("13", "14"))

    told = first_difference(table, (wrong, answers[1]))
    assert told is not None
    assert "for a in [13]:" in told
    assert "for b in [0]:" in told
