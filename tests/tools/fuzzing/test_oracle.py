"""CPython as the oracle: what it answers, and that nothing keeps it from answering."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.fuzzing.oracle import Answer, Oracle

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="the oracle is CPython 3.11"
)

GOOD = "def solution():\n    return 7"
SEVEN = Answer("value", "", "int", (7.0).hex(), "7")
RAISES = "def solution():\n    raise {}"
RETURNS = "def solution():\n    return {}"


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with Oracle() as made:
        yield made


@pytest.mark.parametrize(
    ("program", "answer"),
    [
        (GOOD, SEVEN),
        (RETURNS.format("'7'"), SEVEN._replace(type_name="str")),
        (RETURNS.format("[1]"), Answer("value", "", "list", "", "[1]")),
        (RETURNS.format("10 ** 400 > 1, -0.0"), Answer("value", "", "tuple", "", "(True, -0.0)")),
        (RETURNS.format("'\u20ac' * 30"), Answer("value", "", "str", "", "\u20ac" * 21)),
        (
            RETURNS.format("hash('a')"),
            Answer("value", "", "int", "0x1.01d1234ae26c6p+62", "4644417185603328019"),
        ),
        (RETURNS.format("str({None, ()})"), Answer("value", "", "str", "", "{None, ()}")),
        (RETURNS.format("int('9' * 5000)"), Answer("raised", "ValueError")),
        (RETURNS.format("math.sqrt(-1)"), Answer("raised", "ValueError")),
        (RAISES.format("KeyError(1)"), Answer("raised", "KeyError")),
        (RAISES.format("SystemExit"), Answer("raised", "SystemExit")),
        ("def solution(:", Answer("syntax", "SyntaxError")),
        ("\0def solution():", Answer("syntax", "SyntaxError")),
        ("solution = 5", Answer("no_entry")),
        ("def solution(x):\n    return x", Answer("no_entry")),
        ("import os\n" + GOOD, Answer("denied", "import os")),
        (RETURNS.format("open('x')"), Answer("denied", "open")),
        (RETURNS.format("'x' * 10 ** 12"), Answer("limit", "MemoryError")),
        ("def solution():\n    while True:\n        pass", Answer("limit", "TooLongError")),
    ],
)
def test_answer(oracle: Oracle, program: str, answer: Answer) -> None:
    assert oracle.answers([program])[0]._replace(micros=0) == answer


@pytest.mark.parametrize(
    "killer",
    [
        "def solution():\n    while True:\n        try:\n            while True: pass\n"
        "        except BaseException: pass",
        RETURNS.format("(2 ** 10 ** 8) ** 9"),
    ],
)
@pytest.mark.slow
def test_it_outlives_every_program(oracle: Oracle, killer: str) -> None:
    answers = oracle.answers([GOOD, killer, GOOD])
    assert [answer.kind for answer in answers] == ["value", "limit", "value"]


def test_programs_leave_nothing_behind(oracle: Oracle) -> None:
    spoiler = (
        "import math\ndef solution():\n    math.sqrt = 5\n    global int\n    int = 3\n    return 1"
    )
    answers = oracle.answers([spoiler, RETURNS.format("int(math.sqrt(49))")])
    assert [answer.text for answer in answers] == ["1", "7"]


def test_recursion_goes_as_deep_as_in_a_script(oracle: Oracle) -> None:
    lines = [
        "def solution():",
        "    def deep(n):",
        "        try:",
        "            return deep(n + 1)",
    ]
    lines += ["        except RecursionError:", "            return n", "    return deep(0)"]
    assert oracle.answers(["\n".join(lines)])[0].text == "997"


def test_another_python_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho cpython 3 9\n")
    other.chmod(0o755)
    with pytest.raises(ValueError, match=r"is cpython 3 9; the oracle must be CPython 3\.11\."):
        Oracle(str(other))
