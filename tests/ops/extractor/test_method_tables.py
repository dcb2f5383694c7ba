"""Every method of every type and every builtin, with arguments of all kinds, as in CPython."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
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
    text = Path(__file__).with_name("methods.txt").read_text("utf-8")
    parts = re.split(r"^\[([\w ]+)\]$", text, flags=re.MULTILINE)[1:]
    return {
        name: part.strip().split(" ; ") for name, part in zip(parts[::2], parts[1::2], strict=True)
    }


WORDS = sections()
TYPES = ("str", "list", "tuple", "dict", "set", "frozenset", "int", "float", "range", "slice")
UNKNOWN = ("encode", "translate", "maketrans", "from_bytes", "to_bytes", "fromhex")
METHODS = [
    (kind, name)
    for kind in TYPES
    for name in dir(getattr(__import__("builtins"), kind))
    if not name.startswith("_")
    and name not in UNKNOWN
    and callable(getattr(getattr(__import__("builtins"), kind), name))
]
ARGUMENTS = [
    "()",
    *(f"({value},)" for value in WORDS["arguments"]),
    *(f"({a}, {b})" for a, b in product(WORDS["fewer"], repeat=2)),
    *(f"({a}, {b}, {c})" for a, b, c in product(*[WORDS["fewer"][:9:2]] * 3)),
    "(1, 2, 3, 4)",
]
LISTED = ("enumerate", "filter", "iter", "map", "reversed", "zip")
ADDRESSED = ("bytes", "complex", "object")


def named(function: str) -> list[str]:
    """Lambdas that call the function, or method of their argument, with names."""
    return [
        f"lambda x: {function}({given}{', ' if given.strip() else ''}{named})"
        for given, named in product(WORDS["called with"], WORDS["keywords"])
    ]


def receivers(kind: str) -> list[str]:
    return [f"lambda: {value}" for value in WORDS[kind]]


def method(kind: str, name: str) -> Table:
    return Table(f"(x := a()).{name}(*b), x", receivers(kind), ARGUMENTS, partial=True)


def method_with_names(kind: str, name: str) -> Table:
    return Table("b(x := a()), x", receivers(kind), named(f"x.{name}"), partial=True)


def builtin(name: str) -> Table:
    call = f"[*{name}(*b)]" if name in LISTED else f"{name}(*b)"
    # hash() of what CPython hashes by its address is not the same twice.
    guard = "False" if name in ADDRESSED else "'hash' != a or type(b[0]) in (int, str, float)"
    return Table(call, [repr(name)], ARGUMENTS if name != "hash" else ARGUMENTS[1:24], guard, True)


def builtin_with_names(name: str) -> Table:
    return Table("[*b(a)]" if name in LISTED else "b(a)", ["0"], named(name), partial=True)


BUILTINS = WORDS["builtins"][0].split()
MATH = [f"math.{name}" for name in WORDS["math"][0].split()]
TABLES = {
    **{f"{kind}.{name}": method(kind, name) for kind, name in METHODS},
    **{f"{kind}.{name}, named": method_with_names(kind, name) for kind, name in METHODS},
    **{name: builtin(name) for name in (*BUILTINS, *MATH)},
    **{f"{name}, named": builtin_with_names(name) for name in (*BUILTINS, *MATH)},
}


@pytest.fixture(scope="module")
def answers() -> Iterator[tuple[Answer, Answer]]:
    with extractor_answers() as extractor, cpython_answers() as cpython:
        yield extractor, cpython


@pytest.mark.parametrize("name", TABLES)
def test_table(answers: tuple[Answer, Answer], name: str) -> None:
    wrong = first_difference(TABLES[name], answers)
    assert wrong is None, wrong
