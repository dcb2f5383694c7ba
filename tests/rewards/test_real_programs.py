"""Programs that models wrote: each must end as it does in plain CPython."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from reft_megatron.config import RewardConfig
from reft_megatron.rewards import Judge
from reft_megatron.rewards.pool import WorkerPool
from reft_megatron.rewards.program_text import cut_program
from reft_megatron.types import Reason

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
    "ok": Reason.NON_NUMERIC,  # it ended, and its result is no number
    "exc": Reason.RUNTIME_ERROR,
    "syntax": Reason.SYNTAX_ERROR,
    "timeout": Reason.TIMEOUT,
}


def whole(line: dict[str, str]) -> str:
    before = SYMPY if SYMPY_NAMES.search(line["code"]) else ""
    if CEIL.search(line["code"]):
        before += "from math import ceil\n"
    if line["src"] == "pot":
        before += "ans = None\n"
    return before + line["code"]


def test_gold_programs_of_svamp_are_correct(shared_data: Path) -> None:
    problems = json.loads((shared_data / "mwp_reft" / "svamp_python_sdp.json").read_text())
    items = [(problem["answer_cot"], problem["answer_value"]) for problem in problems]
    for parity in ("correct", "reference"):
        config = RewardConfig(workers=2)
        with Judge(form="program", kind="number", config=config, parity=parity) as judge:
            verdicts = judge.judge(items)
        assert len(verdicts) == 3043
        assert [v for v in verdicts if not v.correct] == []


@pytest.mark.slow
def test_ten_thousand_programs(shared_data: Path) -> None:
    pytest.importorskip("sympy")
    with gzip.open(shared_data / "programs" / "real.jsonl.gz") as file:
        lines = [json.loads(line) for line in file]
    hung = [line for line in lines if line["st"] == "timeout"]
    lines = hung + lines[:: len(lines) // 10_000][: 10_000 - len(hung)]
    programs = [cut_program(whole(line)) for line in lines]
    assert None not in programs

    pool = WorkerPool(RewardConfig(workers=2, timeout_s=8.0))
    outcomes = pool.run(programs, want="number", split_namespaces=False)
    pool.close()

    wrong = []
    for line, outcome in zip(lines, outcomes, strict=True):
        if line["f"] is not None:
            right = (None, float(line["f"]), line["ty"])
            seen = (outcome.failure, outcome.value, outcome.detail)
        else:
            right, seen = (FAILURES[line["st"]], None), (outcome.failure, outcome.value)
        if seen != right:
            wrong.append((line["code"], right, seen))
    assert wrong == []
    assert (pool.programs, pool.respawns, pool.faults) == (10_000, 0, 0)
