"""The programs and texts that the benchmark runs.

Owns reading them from the data folder, what must stand before a recorded program, and the big
batch. Nothing here is measured.
"""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from reft_megatron.errors import DataError
from reft_megatron.ops.extractor import TRIGGER

__all__ = ["Corpus", "batch", "load"]

_SVAMP = "mwp_reft/svamp_python_sdp.json"
_TEXTS = "mwp_reft/svamp_nl.json"
_REAL = "programs/real.jsonl.gz"

# The programs were recorded with these names at hand; the file holds only `def solution()`.
_SYMPY = """from sympy import Eq, Symbol, simplify, solve
def solve_it(equation, variable):
    found = solve(equation, variable, dict=True)
    if not found:
        return {v: None for v in variable} if isinstance(variable, list) else {variable: None}
    return found[0]
"""
_SYMPY_NAMES = re.compile(r"\b(Symbol|Eq|solve|solve_it|simplify)\b")
_CEIL = re.compile(r"(?<![.\w])ceil\(")
_LOOP = "def solution():\n    turns_{0} = 0\n    while True:\n        turns_{0} += 1\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Programs and texts, each a list."""

    svamp: list[str]
    """SVAMP's gold programs, in the format that this project trains."""
    svamp_gold: list[float]
    """Their answers."""
    real: list[str]
    """Programs that models wrote, right and wrong."""
    plain: list[str]
    """Those of them that do not use sympy."""
    finite: list[str]
    """Those of the plain ones that end in CPython within its time limit."""
    strict: list[str]
    """Natural-language solutions in ReFT's form: its trigger, then the answer."""
    lenient: list[str]
    """The same as they were written, the answer somewhere in the last sentence."""
    texts_gold: list[float]
    """The answers of both."""


def load(folder: Path, *, most: int = 1 << 31) -> Corpus:
    """Read the data, at most `most` items of each kind; raises DataError if a file is not there."""
    svamp, texts = (_read(folder / name)[:most] for name in (_SVAMP, _TEXTS))
    real = _read(folder / _REAL)[:most]
    plain = [line for line in real if not _SYMPY_NAMES.search(line["code"])]
    return Corpus(
        svamp=[problem["answer_cot"] for problem in svamp],
        svamp_gold=[float(problem["answer_value"]) for problem in svamp],
        real=[_whole(line) for line in real],
        plain=[_whole(line) for line in plain],
        finite=[_whole(line) for line in plain if line["st"] != "timeout"],
        strict=[text["answer_cot"] + TRIGGER + text["answer_value"] for text in texts],
        lenient=[text["answer_cot"] for text in texts],
        texts_gold=[float(text["answer_value"]) for text in texts],
    )


def batch(programs: list[str], *, shape: tuple[int, int], loops: int) -> list[list[str]]:
    """A nest of distinct programs: `programs` over and over, and `loops` that never end, spread.

    No two rows are the same text (each closes with a comment of its own, each loop has its own
    variable), so that the extractor cannot answer one row with the outcome of another.
    """
    rows, columns = shape
    count = rows * columns
    flat = [f"{text}\n    # row {row}" for row, text in enumerate(islice(cycle(programs), count))]
    for loop in range(loops):
        flat[loop * count // loops] = _LOOP.format(loop)
    return [flat[row * columns : (row + 1) * columns] for row in range(rows)]


def _whole(line: dict[str, str]) -> str:
    before = _SYMPY if _SYMPY_NAMES.search(line["code"]) else ""
    if _CEIL.search(line["code"]):
        before += "from math import ceil\n"
    if line["src"] == "pot":
        before += "ans = None\n"
    return before + line["code"]


def _read(path: Path) -> list[dict[str, Any]]:
    """Items of a JSON list, or of zipped JSON Lines."""
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                return [json.loads(line) for line in lines]
        items: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return items
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: {error}. --data names the folder that holds {_SVAMP}, {_TEXTS} and {_REAL}; "
            "without it, $REFT_DATA does."
        ) from None
