"""Where a program ends."""

from __future__ import annotations

import random

import pytest

from reft_megatron import _extractor
from reft_megatron.ops.reference.program_text import cut_at_blank_line, cut_program

PLAIN = "def solution():\n    a = 1\n    return a"
PARAGRAPHS = "def solution():\n    a = 1\n\n    return a"
DOCSTRING = 'def solution():\n    """Which?\na ) 38 , b ) 27\n\nIt\'s odd."""\n    return 1'
BRACKETS = "def solution():\n    a = (1 +\n2)\n    return a"
COMMENT = "def solution():\n    a = 1\n# now\n    return a"
QUOTES = "def solution():\n    a = 'it''s'  # it's \"\"\"\n    return len(a)"
HELPER = "import math\n\ndef double(x):\n    return 2 * x\n\ndef solution():\n    return double(4)"
TWICE = "def solution():\n    return 1\ndef solution():\n    return 2"


@pytest.mark.parametrize(
    "program", [PLAIN, PARAGRAPHS, DOCSTRING, BRACKETS, COMMENT, QUOTES, HELPER, TWICE]
)
@pytest.mark.parametrize(
    "chatter",
    [
        "",
        "\n",
        "\nThe answer is 6.",
        "\n\nThe answer is 6.",
        "\n \nprint(solution())",
        "\n```\nDone",
        "\r\n\r\nQuestion:\nTom's",
        "\n\ndef solution():\n    return 3",
        "\nassert solution() == '''",
    ],
)
def test_chatter_is_cut(program: str, chatter: str) -> None:
    assert cut_program(program + chatter) == program


def test_without_solution() -> None:
    assert cut_program("") is None
    assert cut_program("x = 1\nreturn x") is None
    assert cut_at_blank_line("x = 1\n\ndef solution():\n    return 1") is None


def test_solution_out_of_place_is_left_to_the_worker() -> None:
    text = "\ufeffdef solution():\n    return 1\n\nDone"
    assert cut_program(text) == text


def test_unending_string_swallows_the_rest() -> None:
    text = 'def solution():\n    """Tom has\n\nDone'
    assert cut_program(text) == text


def test_long_text_is_cut_in_linear_time() -> None:
    body = "".join(f"    a{i} = '{i}' + (\"{i}\")\n" for i in range(20_000))
    program = f"def solution():\n{body}    return 1"
    assert cut_program(f"{program}\n\nDone") == program
    assert cut_program("def solution():\n" + "    '\\" * 50_000) is not None


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        (PLAIN, PLAIN),
        (f"{PLAIN}\n\nThe answer", PLAIN),
        (f"{PLAIN}\nThe answer", f"{PLAIN}\nThe answer"),
        (PARAGRAPHS, "def solution():\n    a = 1"),
        (HELPER, None),
        (TWICE, TWICE),
        ("def solution():\n    sys.exit(3)", "def solution():\n    print(3)"),
    ],
)
def test_reference_cuts_at_the_first_blank_line(text: str, cut: str | None) -> None:
    assert cut_at_blank_line(text) == cut


PIECES = [
    *("def solution():", "\n", "\n\n", "    ", "a = 1", "'", '"', '"""', "'''", "\\", "#", "("),
    *(")", "[", "]", "{", "}", "return 1", "\r", "\t", " ", "def solution", "2", "sys.exit", "x"),
    "\u3000",
]


def test_the_fast_path_equals_the_reference() -> None:
    source = random.Random(3)
    for _ in range(20_000):
        text = "".join(source.choice(PIECES) for _ in range(source.randint(0, 30)))
        assert _extractor.cut_program(text, {}) == (cut_program(text) or ""), text
        wanted = cut_at_blank_line(text) or ""
        assert _extractor.cut_program(text, {"compat": 1}).replace("sys.exit", "print") == wanted
