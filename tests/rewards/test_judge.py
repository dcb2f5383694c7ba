"""From answer text to verdict, in both parities."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reft_megatron.config import RewardConfig
from reft_megatron.errors import DataError
from reft_megatron.ops.status import Status
from reft_megatron.rewards import Judge
from reft_megatron.types import Reason, Verdict


def solution(body: str) -> str:
    return "def solution():\n" + "\n".join(f"    {line}" for line in body.split("\n"))


@pytest.fixture(scope="module")
def reference(short: RewardConfig) -> Iterator[Judge]:
    with Judge(form="program", kind="number", config=short, parity="reference") as judge:
        yield judge


@pytest.fixture(scope="module")
def letters(short: RewardConfig) -> Iterator[Judge]:
    with Judge(form="program", kind="letter", config=short, parity="correct") as judge:
        yield judge


REASONS = [
    ("return 4", Verdict(reason=Reason.CORRECT, value=4.0, detail="int")),
    ("return 4.009", Verdict(reason=Reason.CORRECT, value=4.009, detail="float")),
    ("return 5", Verdict(reason=Reason.WRONG_VALUE, value=5.0, detail="int")),
    ("return 5 +", Verdict(reason=Reason.SYNTAX_ERROR, detail="invalid syntax")),
    ("return apples", Verdict(reason=Reason.RUNTIME_ERROR, detail="NameError")),
    ("while True: pass", Verdict(reason=Reason.TIMEOUT, detail="steps")),
    ("return [0] * 10**10", Verdict(reason=Reason.MEMORY, detail="items of one container")),
    (
        "import os\nreturn 4",
        Verdict(reason=Reason.DENIED, detail="a module that reaches outside"),
    ),
    ("return float('nan')", Verdict(reason=Reason.NON_FINITE, detail="float")),
    ("return 1e308 * 10", Verdict(reason=Reason.NON_FINITE, detail="float")),
    ("return '4 apples'", Verdict(reason=Reason.NON_NUMERIC, detail="str")),
    ("pass", Verdict(reason=Reason.NON_NUMERIC, detail="NoneType")),
]


def test_every_reason(judge: Judge) -> None:
    items = [(solution(body), "4") for body, _ in REASONS]
    assert judge.judge(items) == [verdict for _, verdict in REASONS]
    [verdict] = judge.judge([("I do not know.", "4")])
    assert verdict.reason is Reason.NO_SOLUTION
    # An executor fault takes a worker that dies twice: see tests/ops/workers.


def test_equal_programs_run_once(judge: Judge) -> None:
    before = judge.stats()
    program = solution("return 3")
    texts = [program, f"{program}\n\nThe answer is 3.", f"\n{program}\n"]
    verdicts = judge.judge([(text, gold) for text in texts for gold in ("3", "4")])
    assert [verdict.correct for verdict in verdicts] == [True, False] * 3
    after = judge.stats()
    assert after["programs"] - before["programs"] == 6
    assert after["duplicates"] - before["duplicates"] >= 3  # the text with chatter is another text


def test_nothing_to_judge(judge: Judge) -> None:
    assert judge.judge([]) == []


def test_bad_gold_answer(judge: Judge) -> None:
    with pytest.raises(DataError):
        judge.judge([(solution("return 1"), "one")])


def test_a_missing_library_is_an_import_error(judge: Judge) -> None:
    [verdict] = judge.judge([(solution("import sympy\nreturn sympy.Integer(4)"), "4")])
    expected = [
        Verdict(reason=Reason.CORRECT, value=4.0, detail="Integer"),
        Verdict(reason=Reason.RUNTIME_ERROR, detail="ModuleNotFoundError"),
    ]
    try:
        import sympy  # noqa: F401  # only whether it is there matters
    except ImportError:
        expected.reverse()
    assert verdict == expected[0]


# What the reference makes of a program (python_engine.py), and what we make of it by default.
PARITY = [
    (solution("a = 1\n\nreturn a"), Reason.NON_NUMERIC, 1.0),
    (f"{solution('return 6')}\n\nThe answer is 6.", 6.0, 6.0),
    (f"{solution('return 6')}\n\n{solution('return 7')}", 6.0, 6.0),
    (f"{solution('return 6')}\nThe answer is 6.", Reason.SYNTAX_ERROR, 6.0),
    (f"def two():\n    return 2\n{solution('return two()')}", Reason.RUNTIME_ERROR, 2.0),
    (f"from math import gcd\n{solution('return gcd(4, 6)')}", Reason.RUNTIME_ERROR, 2.0),
    (
        "def solution(n=3):\n    return n and n + solution(n - 1)",
        Reason.RUNTIME_ERROR,
        6.0,
    ),
    (solution("from math import gcd\nreturn gcd(4, 6)"), 2.0, 2.0),
    (solution("return math.ceil(1.5)"), 2.0, 2.0),
    (solution("a = 1"), Reason.NON_NUMERIC, Reason.NON_NUMERIC),
    (solution("return '5'"), 5.0, 5.0),
    (solution("return True"), 1.0, 1.0),
    (solution("from fractions import Fraction\nreturn Fraction(1, 2)"), 0.5, 0.5),
    (solution("return '5,000'"), Reason.NON_NUMERIC, Reason.NON_NUMERIC),
    (solution("return [5]"), Reason.NON_NUMERIC, Reason.NON_NUMERIC),
    (solution("return 1j"), Reason.NON_NUMERIC, Reason.NON_NUMERIC),
    (solution("return 10**400"), Reason.NON_NUMERIC, Reason.NON_NUMERIC),
    (solution("return float('inf')"), float("inf"), Reason.NON_FINITE),
    (solution("return lambda: 1"), Reason.NON_NUMERIC, Reason.NON_NUMERIC),
    (solution("return (i for i in [1])"), Reason.NON_NUMERIC, Reason.NON_NUMERIC),
    (solution("import sys\nsys.exit(3)\nreturn 4"), 4.0, Reason.RUNTIME_ERROR),
    (solution("exit()"), Reason.DENIED, Reason.DENIED),
    (solution("raise KeyboardInterrupt"), Reason.RUNTIME_ERROR, Reason.RUNTIME_ERROR),
    (solution('"""Tom\n\nhas."""\nreturn 1'), Reason.SYNTAX_ERROR, 1.0),
]


def test_parity_table(judge: Judge, reference: Judge) -> None:
    items = [(text, "-1") for text, _, _ in PARITY]  # no program returns -1: values are wrong ones
    for who, column in ((reference, 1), (judge, 2)):
        verdicts = who.judge(items)
        assert {v.reason for v in verdicts if v.extracted} == {Reason.WRONG_VALUE}
        found = [v.value if v.extracted else v.reason for v in verdicts]
        assert found == [row[column] for row in PARITY]


def test_letters(letters: Judge) -> None:
    bodies = ["return 'b'", "return '\"B\" '", "return 'c'", "return 'b)'", "return 2", "return x"]
    verdicts = letters.judge([(solution(body), "b") for body in bodies])
    assert [(v.reason, v.value) for v in verdicts] == [
        (Reason.CORRECT, "b"),
        (Reason.CORRECT, "b"),
        (Reason.WRONG_VALUE, "c"),
        (Reason.NON_NUMERIC, None),
        (Reason.NON_NUMERIC, None),
        (Reason.RUNTIME_ERROR, None),
    ]


def test_reference_letters_are_never_nothing(short: RewardConfig) -> None:
    with Judge(form="program", kind="letter", config=short, parity="reference") as judge:
        bodies = ["return 'B'", "return None", "return x", "return 'b)'"]
        verdicts = judge.judge([(solution(body), "b") for body in bodies] + [("no", "b")])
        assert judge.partial == 0.1
    assert [v.value for v in verdicts] == ["b", "none", "none", "b)", "none"]
    assert [v.extracted for v in verdicts] == [True] * 5
    assert [v.correct for v in verdicts] == [True, False, False, False, False]
    assert verdicts[2].detail == "runtime_error"


def test_partial_reward_is_for_numbers(judge: Judge, letters: Judge) -> None:
    assert (judge.partial, letters.partial) == (0.1, 0.0)


def test_reading_text(short: RewardConfig) -> None:
    text = "18 - 4 = 14\nTherefore, the answer is: $1,014."
    with Judge(form="nl", kind="number", config=short, parity="correct") as judge:
        assert [(v.reason, v.value) for v in judge.judge([(text, "1014"), (text, "14")])] == [
            (Reason.CORRECT, 1014.0),
            (Reason.WRONG_VALUE, 1014.0),
        ]
        assert judge.judge([("14", "14")]) == [Verdict(reason=Reason.NO_SOLUTION)]
        assert judge.stats()["threads"] == judge.stats()["workers"]["programs"] == 0
    with Judge(form="nl", kind="number", config=short, parity="reference") as judge:
        assert [v.reason for v in judge.judge([(text, "1014"), ("14", "14")])] == [
            Reason.NON_NUMERIC,
            Reason.CORRECT,
        ]
    with Judge(form="nl", kind="letter", config=short, parity="correct") as judge:
        [verdict] = judge.judge([("So.\nTherefore, the answer is: C.", "c")])
        assert (verdict.reason, verdict.value) == (Reason.CORRECT, "c")


def test_a_fault_is_no_verdict(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = (Status.WORKER_LOST, 0, float("nan"), "", "killed")
    monkeypatch.setattr(judge._extractor, "_fallback", lambda programs, **_: [lost] * len(programs))
    [verdict] = judge.judge([(solution("import sympy\nreturn sympy.Integer(4)"), "4")])
    assert verdict.reason is Reason.EXECUTOR_FAULT


def test_stats(judge: Judge) -> None:
    stats = judge.stats()
    assert {"programs", "duplicates", "by_fallback", "workers"} <= set(stats)
    assert (stats["workers"]["respawns"], stats["workers"]["faults"]) == (0, 0)
