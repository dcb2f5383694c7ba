"""The extractor against CPython on thousands of programs, the same in every run.

`python -m tools.fuzz_extractor` runs more of them, and makes a program that differs small.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

import pytest

from tests.thorough import choose
from tools.fuzzing import campaign
from tools.fuzzing.campaign import Setting, Tally
from tools.fuzzing.comparison import Bench
from tools.fuzzing.oracle import Answer, Oracle

SEED = 20_240_101
PROGRAMS = choose(
    {"grammar": 3_000, "mutate": 1_000, "truncate": 500, "rename": 500},
    {"grammar": 12_000, "mutate": 4_000, "truncate": 2_000, "rename": 2_000},
)
MOST_PASSED = 0.04  # of the grammar's programs: not answered, or stopped at a limit


class Forger:
    """An oracle that lies about one program."""

    def __init__(self, lie_about: str) -> None:
        self._oracle = Oracle()
        self._lie_about = lie_about

    def answers(self, programs: Sequence[str]) -> list[Answer]:
        return [
            answer._replace(text="a lie") if self._lie_about in program else answer
            for program, answer in zip(programs, self._oracle.answers(programs), strict=True)
        ]

    def again(self, program: str) -> Answer:
        return self.answers([program])[0]

    def close(self) -> None:
        self._oracle.close()


@pytest.fixture(scope="module", autouse=True)
def cpython_3_11() -> None:
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the extractor answers as CPython 3.11 does, and that is not at hand")


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench(Oracle()) as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("kind", PROGRAMS)
def test_no_program_differs(kind: str) -> None:
    total = Tally()
    batches = list(campaign.batches([kind], SEED, PROGRAMS[kind]))
    for tally in campaign.run(batches, Setting(), jobs=len(os.sched_getaffinity(0))):
        total.add(tally)
    assert not total.crashed
    assert [pair.told() + "\n" + pair.program for pair in total.differences] == []
    assert total.programs >= PROGRAMS[kind]
    assert total.reasons.total() < MOST_PASSED * total.programs, total.reasons


def test_a_wrong_answer_is_seen() -> None:
    with Bench(Forger("return 3")) as bench:
        pairs = bench.compare([f"def solution():\n    return {number}" for number in range(5)])
    assert [pair.program[-1] for pair in pairs if not pair.explained] == ["3"]


@pytest.mark.parametrize(
    ("program", "explained"),
    [
        ("def solution():\n    return 2 ** 0.5", "same"),
        ("def solution():\n    return 1 / 0", "same"),
        ("def solution(:\n    return 1", "same"),
        ("def solve():\n    return 1", "same"),
        ("def solution(x):\n    return x", "same"),
        ("def solution():\n    return float('nan')", "same"),
        ("def solution():\n    return [None]", "same"),
        ("def solution():\n    return 1\nSo the answer is 1.", "same"),
        ("def solution():\n    return '\ud800'", "same"),
        ("def solution():\n    while True:\n        pass", "limit"),
        ("def solution():\n    return 2 ** 10 ** 9", "limit"),
        ("def solution():\n    return open('x')", "denied"),
        (
            "def solution():\n    return str({ValueError(i) for i in range(9)})",
            "undecided in CPython",
        ),
        ("class A:\n    pass\ndef solution():\n    return 1", "unsupported"),
    ],
)
def test_what_is_explained(bench: Bench, program: str, explained: str) -> None:
    assert [pair.explained for pair in bench.compare([program])] == [explained]


def test_the_oracle_outlives_what_kills_it(bench: Bench) -> None:
    good = "def solution():\n    return 7"
    killers = ["def solution():\n    return (2 ** 10 ** 8) ** 9", good, good]
    assert [pair.found.text for pair in bench.compare(killers)] == ["", "7", "7"]
    assert [pair.explained for pair in bench.compare(killers)] == ["limit", "same", "same"]


FOUND = {
    "a jump out of finally drops what is returned": """
    for v in [4, 5]:
        try:
            return v
        finally:
            continue
    return 3""",
    "a generator keeps the exception it handles": """
    def generator():
        try:
            1 / 0
        except ZeroDivisionError:
            yield 1
            raise
    return list(generator())""",
    "what a generator handles does not hide what is handled outside": """
    def generator():
        yield 1
        try:
            raise
        except Exception as error:
            yield repr(error)
    it = generator()
    next(it)
    try:
        {}[1]
    except KeyError:
        return [*it]""",
    "a dict is made when all is evaluated": """
    try:
        return {[]: 1, 'a': absent}
    except Exception as error:
        return type(error).__name__""",
    "an iterable of a comprehension assigns nothing": """
    return [i for i in [(x := 7)]]""",
    "a comprehension's variable is assigned by nothing else": """
    return {(i := 0) for i in [1]}""",
    "nor by a comprehension inside it": """
    return [[(i := j) for j in [1]] for i in [1]]""",
    "nor is what is assigned before made a variable": """
    return [j for j in [1] if (i := 2) for i in [3]]""",
    "what is assigned further in belongs to the function": """
    found = [[(k := i + j) for i in [1, 2]] + [k] for j in [5]]
    return found, k""",
    "annotations inside a function are not evaluated": """
    x, y = [1], []
    x[0]: absent
    y.absent: absent
    (z): absent = 5
    return x, z""",
    "but what they annotate is": """
    try:
        absent.a: int
    except NameError as error:
        return str(error)""",
    "a name in brackets is bound by a value alone": """
    try:
        (len): absent
        return len('abc')
    except UnboundLocalError as error:
        return str(error)""",
    "functions are called by their qualified names": """
    def inner(*, k): pass
    try:
        inner(1, 2, k=3)
    except TypeError as error:
        return str(error)[-60:]""",
    "recursion goes as deep as in CPython": """
    def deep(n):
        try:
            return deep(n + 1)
        except RecursionError:
            return n
    return deep(0)""",
    "nothing can be unpacked from a function": """
    try:
        [] = len
    except TypeError as error:
        return str(error)""",
}


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_stays_mended(bench: Bench, name: str) -> None:
    (pair,) = bench.compare([f"def solution():{FOUND[name]}"])
    assert pair.explained == "same", pair.told()
