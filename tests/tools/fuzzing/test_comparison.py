"""What counts as the same outcome (the real thing is compared in tests/ops/extractor/test_fuzz)."""

from __future__ import annotations

import pytest

from reft_megatron.ops.status import Status
from tools.fuzzing.comparison import Found, Pair, cut
from tools.fuzzing.oracle import Answer

PROGRAM = "def solution():\n    return 7"
SEVEN = (7.0).hex()
FOUND = Found(Status.OK, "", "int", SEVEN, "7", "", 9)
ANSWER = Answer("value", "", "int", SEVEN, "7", 3)
RAISED = FOUND._replace(status=Status.RUNTIME_ERROR, exception="KeyError", value="", text="")


@pytest.mark.parametrize(
    ("found", "answer", "explained"),
    [
        (FOUND, ANSWER, "same"),
        (FOUND._replace(text="8"), ANSWER, ""),
        (FOUND._replace(value=(8.0).hex()), ANSWER, ""),
        (FOUND._replace(type_name="bool"), ANSWER, ""),
        (FOUND, Answer("raised", "KeyError"), ""),
        (FOUND, Answer("denied", "open"), ""),
        (FOUND._replace(value=""), ANSWER._replace(value=""), "same"),
        (
            FOUND._replace(status=Status.OK_NONFINITE, value="inf"),
            ANSWER._replace(value="inf"),
            "same",
        ),
        (FOUND._replace(value="inf"), ANSWER._replace(value="inf"), ""),
        (RAISED, Answer("raised", "KeyError"), "same"),
        (RAISED, Answer("raised", "IndexError"), ""),
        (RAISED._replace(status=Status.SYNTAX_ERROR), Answer("syntax", "SyntaxError"), "same"),
        (RAISED._replace(status=Status.SYNTAX_ERROR), Answer("raised", "KeyError"), ""),
        (RAISED._replace(status=Status.NO_ENTRY), Answer("no_entry"), "same"),
        (RAISED._replace(status=Status.STEP_LIMIT), ANSWER, "limit"),
        (RAISED._replace(status=Status.UNSUPPORTED), ANSWER, "unsupported"),
        (RAISED._replace(status=Status.DENIED), ANSWER, "denied"),
        (RAISED._replace(status=Status.INTERNAL), ANSWER, ""),
        (FOUND._replace(steps=900_000), Answer("limit", "time"), "slow in CPython"),
        (FOUND, Answer("limit", "time"), ""),
    ],
)
def test_what_is_explained(found: Found, answer: Answer, explained: str) -> None:
    assert Pair(PROGRAM, found, answer).explained == explained


def test_where_cpython_is_undecided_nothing_is_wrong() -> None:
    pair = Pair(PROGRAM, FOUND._replace(text="8"), ANSWER)
    assert [pair.explained, pair._replace(decided=False).explained] == ["", "undecided in CPython"]
    assert Pair(PROGRAM, FOUND, ANSWER, False).explained == "undecided in CPython"


def test_both_outcomes_are_told() -> None:
    pair = Pair(PROGRAM, RAISED._replace(status=Status.UNSUPPORTED, why="class"), ANSWER)
    assert pair.told() == (
        "extractor: UNSUPPORTED KeyError int (class) ''\n"
        "cpython:   value int 0x1.c000000000000p+2 '7'"
    )
    assert pair.sort == ("UNSUPPORTED", "KeyError", "value", "")


@pytest.mark.parametrize(
    ("text", "program"),
    [
        (PROGRAM, PROGRAM),
        (f"\n{PROGRAM}\n\n", PROGRAM),
        (f"{PROGRAM}\n# so\n", f"{PROGRAM}\n# so"),
        (f"{PROGRAM}\nThe answer is 7.", PROGRAM),
        (f"x = 1\n{PROGRAM}", f"x = 1\n{PROGRAM}"),
        ("def solution", "def solution"),
        ("7", ""),
        (f"{PROGRAM}\nSo \ud800", f"{PROGRAM}\nSo \ud800"),
    ],
)
def test_cut(text: str, program: str) -> None:
    assert cut(text) == program
