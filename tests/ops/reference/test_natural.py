"""Reading the answer in natural language: the C++ path equals its reference in plain Python."""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from reft_megatron.ops.extractor import TRIGGER, Extractor
from reft_megatron.ops.reference.natural import Answer, read_lenient, read_strict
from reft_megatron.ops.status import Status

NO_NUMBER = (Status.NON_NUMERIC, None)
NOTHING = (Status.NO_ENTRY, None)
PIECES = [
    *("1", "12", "1,234", "1,23", "00", ".5", "1.5", "3/4", "/0", ",", ".", "-", "+", "\u2212"),
    *("$", "$ ", "-$", "%", " ", "\n", "=", " = ", "E5", "e+", "1e999", "x", "B", "(c)", "d.", "_"),
    *("1_000", "'", "the answer is", "The Answer IS ", "####", "\\boxed{", "{", "}", "Therefore, "),
    *(TRIGGER, TRIGGER[1:], ":", "**", "inf", "nan", "\u0663", "\u3000", "\xa0", "apples", "\\"),
    *("(", ")", "[", "]", "1234567", "1,234,567", "\t", "\r", "infinity", "\U0001d7d8", "a", "E"),
]


@pytest.fixture(scope="module")
def extractor() -> Iterator[Extractor]:
    with Extractor(fallback="none") as extractor:
        yield extractor


def fast(
    extractor: Extractor, texts: list[str], mode: Literal["reft", "lenient"], *, letter: bool
) -> list[Answer]:
    results = extractor.run_nl(texts, mode=mode, kind="letter" if letter else "number")
    found: list[Answer] = []
    for row, number in enumerate(results.status):
        status = Status(number)
        if status > Status.OK_NONFINITE:
            found.append((status, None))
        else:
            found.append((status, results.text(row) if letter else float(results.value[row])))
    return found


def bits(answer: Answer) -> object:
    """So that nan equals nan, and -0.0 is not 0.0."""
    status, value = answer
    if isinstance(value, float):
        return status, "nan" if math.isnan(value) else struct.pack("<d", value)
    return status, value


def random_text(source: random.Random) -> str:
    text = "".join(source.choice(PIECES) for _ in range(source.randint(0, 14)))
    if source.random() < 0.4:
        text = f"We add.{TRIGGER}" + "".join(source.choices(PIECES, k=source.randint(0, 3)))
    return text


@pytest.mark.parametrize("letter", [False, True])
@pytest.mark.parametrize("mode", ["reft", "lenient"])
def test_the_fast_path_equals_the_reference(
    mode: Literal["reft", "lenient"], letter: bool, extractor: Extractor
) -> None:
    source = random.Random(7)
    texts = [random_text(source) for _ in range(10_000)]
    read = read_strict if mode == "reft" else read_lenient
    wrong = [
        (text, seen, right)
        for text, seen in zip(texts, fast(extractor, texts, mode, letter=letter), strict=True)
        if bits(seen) != bits(right := read(text, TRIGGER, letter=letter))
    ]
    assert wrong == []


# What stands behind the trigger, what the lenient rule makes of it, and what the reference does.
NUMBERS = [
    ("18", 18.0, 18.0),
    (" 18 \n", 18.0, 18.0),
    ("18.", 18.0, 18.0),
    ("18.5.", 18.5, None),
    ("1,000", 1000.0, None),
    ("$18", 18.0, None),
    ("$ 1,234.50", 1234.5, None),
    ("18%", 18.0, None),
    ("18%.", 18.0, None),
    ("18 %", 18.0, None),
    (".5", 0.5, 0.5),
    ("-3", -3.0, -3.0),
    ("1_000", 1000.0, 1000.0),
    ("1e3", 1000.0, 1000.0),
    ("\u0663", 3.0, 3.0),
    ("1/2", 0.5, None),
    ("<5>.", 5.0, None),
    ("5 apples", 5.0, None),
    ("2 + 3 = 5", 5.0, None),
]


def test_numbers(extractor: Extractor) -> None:
    texts = [f"We add.{TRIGGER}{answer}" for answer, _, _ in NUMBERS]
    assert fast(extractor, texts, "lenient", letter=False) == [
        (Status.OK, value) for _, value, _ in NUMBERS
    ]
    assert fast(extractor, texts, "reft", letter=False) == [
        NO_NUMBER if value is None else (Status.OK, value) for _, _, value in NUMBERS
    ]


def test_the_last_trigger_counts(extractor: Extractor) -> None:
    texts = [f"First{TRIGGER}4\nNo:{TRIGGER}5"]
    for mode in ("reft", "lenient"):
        assert fast(extractor, texts, mode, letter=False) == [(Status.OK, 5.0)]


def test_without_a_trigger(extractor: Extractor) -> None:
    texts = ["5", "it is five", "We get 4 and 5.", ""]
    assert fast(extractor, texts, "reft", letter=False) == [(Status.OK, 5.0)] + [NO_NUMBER] * 3
    assert fast(extractor, texts, "lenient", letter=False) == [
        (Status.OK, 5.0),
        NOTHING,
        (Status.OK, 5.0),
        NOTHING,
    ]


def test_letters(extractor: Extractor) -> None:
    texts = [f"We choose.{TRIGGER}{answer}" for answer in ("c", "C.", " c\n", "c)", "")]
    assert fast(extractor, texts, "lenient", letter=True) == [
        (Status.OK, "c"),
        (Status.OK, "C"),
        (Status.OK, "c"),
        (Status.OK, "c"),
        NOTHING,
    ]
    assert [value for _, value in fast(extractor, texts, "reft", letter=True)] == [
        "c",
        "C.",
        "c",
        "c)",
        "",
    ]


@pytest.mark.shared_data
def test_real_chains(extractor: Extractor, shared_data: Path) -> None:
    chains = json.loads((shared_data / "mwp_reft" / "svamp_nl.json").read_text())
    gold = [float(chain["answer_value"]) for chain in chains]
    raw = [chain["answer_cot"] for chain in chains]
    whole = [chain["answer_cot"] + TRIGGER + chain["answer_value"] for chain in chains]
    strict = extractor.run_nl(whole, gold=gold).correct
    lenient = extractor.run_nl(raw, mode="lenient", gold=gold).correct
    assert strict is not None
    assert lenient is not None
    assert strict.all()
    # Two chains say another number than their file: 8.93 rounded to 9, and 69.32 for 69.4.
    missed = [chains[row]["item_id"] for row in range(len(chains)) if not lenient[row]]
    assert missed == ["svamp_929", "svamp_2000"]
