"""What runs in the oracle's process, here in the test's own; its main loop is test_oracle's."""

from __future__ import annotations

import pytest

from tools.fuzzing import oracle_process
from tools.fuzzing.oracle_process import answer


@pytest.mark.parametrize(
    ("program", "outcome"),
    [
        ("def solution():\n    return 1.5", ("value", "", "float", (1.5).hex(), "1.5")),
        ("def solution():\n    return 1 / 0", ("raised", "ZeroDivisionError", "", "", "")),
        ("class E(Exception): pass\ndef solution():\n    raise E", ("raised", "Other", "", "", "")),
        ("def solution():\n    return input()", ("denied", "input", "", "", "")),
        ("x =", ("syntax", "SyntaxError", "", "", "")),
        ("x = 1", ("no_entry", "", "", "", "")),
        ("def solution(a, *, b=1):\n    return a", ("no_entry", "", "", "", "")),
        ("from sympy import x\nsolution = lambda: 2", ("value", "", "int", (2.0).hex(), "2")),
    ],
)
def test_answer(program: str, outcome: oracle_process.Outcome) -> None:
    assert answer(program) == outcome


def test_modules_are_imported_as_they_are() -> None:
    program = "from fractions import Fraction\ndef solution():\n    return Fraction(1, 4)"
    assert answer(program) == ("value", "", "Fraction", (0.25).hex(), "1/4")
