"""Programs that models wrote: each must end as it did in plain CPython."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Literal

import pytest

from reft_megatron.ops.extractor import REFERENCE_LIMITS, Extractor, Route
from reft_megatron.ops.status import Status
from tests.thorough import choose

pytestmark = pytest.mark.shared_data

# The programs were recorded with these names at hand; the files hold only `def solution()`.
SYMPY = """from sympy import Eq, Symbol, simplify, solve
def solve_it(equation, variable):
    found = solve(equation, variable, dict=True)
    if not found:
        return {v: None for v in variable} if isinstance(variable, list) else {variable: None}
    return found[0]
"""
SYMPY_NAMES = re.compile(r"\b(Symbol|Eq|solve|solve_it|simplify)\b")
CEIL = re.compile(r"(?<![.\w])ceil\(")

FAILURES = {
    "ok": {Status.NON_NUMERIC},  # it ended, and its result is no number
    "exc": {Status.RUNTIME_ERROR},
    "syntax": {Status.SYNTAX_ERROR},
    "timeout": {Status.STEP_LIMIT, Status.TIME_LIMIT},
}


def whole(line: dict[str, str]) -> str:
    before = SYMPY if SYMPY_NAMES.search(line["code"]) else ""
    if CEIL.search(line["code"]):
        before += "from math import ceil\n"
    if line["src"] == "pot":
        before += "ans = None\n"
    return before + line["code"]


@pytest.mark.parametrize("compat", ["python", "reft"])
def test_gold_programs_of_svamp_are_correct(
    compat: Literal["python", "reft"], shared_data: Path
) -> None:
    problems = json.loads((shared_data / "mwp_reft" / "svamp_python_sdp.json").read_text())
    programs = [problem["answer_cot"] for problem in problems]
    gold = [float(problem["answer_value"]) for problem in problems]
    with Extractor(compat=compat, fallback="none") as extractor:
        results = extractor.run(programs, gold=gold)
    assert len(results) == 3043
    assert results.correct is not None
    assert results.correct.all()


@pytest.mark.slow
def test_all_end_as_they_did_in_cpython(shared_data: Path) -> None:
    pytest.importorskip("sympy")
    with gzip.open(shared_data / "programs" / "real.jsonl.gz") as file:
        lines = [json.loads(line) for line in file]
    assert len(lines) == 24_954
    # Those that need sympy, and so a worker, take most of the time.
    slow = [line for line in lines if SYMPY_NAMES.search(line["code"])]
    lines = [line for line in lines if not SYMPY_NAMES.search(line["code"])]
    lines += choose(slow[::8], slow)

    # The limits under which the programs were recorded: one ends after 57 million rounds of a loop.
    with Extractor(limits=REFERENCE_LIMITS) as extractor:
        results = extractor.run([whole(line) for line in lines])
        stats = extractor.stats()

    wrong = []
    for row, line in enumerate(lines):
        status = Status(results.status[row])
        if line["f"] is None:
            same = status in FAILURES[line["st"]]
        else:
            value = float(results.value[row])
            same = value.hex() == float(line["f"]).hex() and results.type_name(row) == line["ty"]
        if not same:
            wrong.append((line["code"], line["st"], line["f"], status.name, results.why(row)))
    assert wrong == []
    # Nothing but sympy needs a worker: 100 % of the others take the fast path.
    sympy = {row for row, line in enumerate(lines) if SYMPY_NAMES.search(line["code"])}
    assert {row for row in range(len(lines)) if results.route[row] == Route.WORKER} <= sympy
    assert (stats["workers"]["respawns"], stats["workers"]["faults"]) == (0, 0)
