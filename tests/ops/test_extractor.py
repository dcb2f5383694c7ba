"""The face of the extractor: settings, handles, fallbacks."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from reft_megatron import _extractor
from reft_megatron.ops.extractor import Extractor, Limits, Route, Status, extract_answers
from reft_megatron.ops.status import EXCEPTIONS

LOOP = "def solution():\n    while True:\n        pass\n"
SYMPY = "def solution():\n    from sympy import Rational\n    return Rational(1, 2)\n"


def program(value: object) -> str:
    return f"def solution():\n    return {value}\n"


def test_exceptions_have_the_numbers_of_the_core():
    assert ("", *EXCEPTIONS) == _extractor.EXCEPTIONS


def test_the_shared_extractor():
    assert extract_answers([program(7), "def solution("], gold=7).value[0] == 7


@pytest.mark.parametrize(
    ("entry", "text", "value"),
    [
        ("solution", program(3), 3),
        ("ans", "ans = 4\n", 4),
        ("answer", "answer = 5\n", 5),
        ("stdout", "print(6)\n", 6),
        ("last_expr", "x = 7\nx\n", 7),
    ],
)
def test_entries(entry: str, text: str, value: float):
    with Extractor(entry=entry, fallback="none") as extractor:  # type: ignore[arg-type]  # a test
        results = extractor.run([text, "y = 1\n"])
    assert results.value[0] == value
    assert results.status[1] in (Status.NO_ENTRY, Status.NON_NUMERIC)


def test_compat_decides_what_a_module_sees():
    text = "RATE = 2\ndef solution():\n    return RATE * 3\n"
    with Extractor(fallback="none") as python, Extractor(compat="reft", fallback="none") as reft:
        assert python.run([text]).value[0] == 6
        assert reft.run([text]).exception(0) == "NameError"


def test_fences():
    text = f"```python\n{program(8)}```\n"
    with Extractor(strip_fences=True, fallback="none") as extractor:
        assert extractor.run([text]).value[0] == 8


def test_unknown_settings():
    for wrong in ({"compat": "perl"}, {"entry": "x"}, {"fallback": "x"}):
        with pytest.raises(ValueError, match="must be one of"):
            Extractor(**wrong)  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(ValueError, match="max_steps must be between"):
        Extractor(limits=Limits(max_steps=0))
    with pytest.raises(ValueError, match="at most 1000"):
        Extractor(limits=Limits(max_frames=100_000))


def test_limits_reach_the_core():
    limits = Limits(max_steps=1000, max_source_bytes=100)
    with Extractor(limits=limits, fallback="none") as extractor:
        results = extractor.run([LOOP, program(1) + "#" * 100])
    assert results.status.tolist() == [Status.STEP_LIMIT, Status.INPUT_LIMIT]
    assert 0 < results.steps[0] <= 1000


def test_without_fallback_programs_stay_unsupported():
    with Extractor(fallback="none") as extractor:
        results = extractor.run([SYMPY])
        assert results.status[0] == Status.UNSUPPORTED
        assert results.why(0)


def test_workers_run_what_the_core_does_not():
    with Extractor(workers=1) as extractor:
        results = extractor.run([program(1), SYMPY, SYMPY])
        assert results.value.tolist() == [1, 0.5, 0.5]
        assert results.route.tolist() == [Route.FAST, Route.WORKER, Route.DUPLICATE]
        assert extractor.stats()["by_fallback"] == 1
        assert extractor.stats()["workers"]["programs"] == 1


def test_a_function_as_fallback():
    asked: list[tuple[list[str], object]] = []

    def answer(programs: Sequence[str], **how: object) -> list[tuple[int, int, float, str, str]]:
        asked.append((list(programs), how["entry"]))
        return [(0, 0, 42.0, "42", "mine")] * len(programs)

    with Extractor(fallback=answer) as extractor:
        results = extractor.run([f"{SYMPY}\nThat is all.", program(1)])
    assert results.value.tolist() == [42, 1]
    assert results.type_name(0) == "mine"
    assert asked[0][0][0].strip().endswith("return Rational(1, 2)")
    assert asked[0][1] == "solution"


def test_a_deadline_holds_for_workers():
    slow = "def solution():\n    import sympy\n    sympy.pi\n    while 1:\n        pass\n"
    with Extractor(workers=1, limits=Limits(wall_s=30)) as extractor:
        start = time.monotonic()
        results = extractor.run([slow], deadline_s=1.0)
        assert time.monotonic() - start < 10
    assert results.status.tolist() == [Status.CANCELLED]


def test_texts():
    texts = ["It is 3.\nTherefore, the answer is: 3", "no answer"]
    with Extractor() as extractor:
        results = extractor.run_nl(texts, gold=[3, 3])
        assert results.status.tolist() == [Status.OK, Status.NON_NUMERIC]
        assert results.correct is not None
        assert results.correct.tolist() == [True, False]
        assert extractor.run_nl(["so we get 5 apples."], mode="lenient").value[0] == 5
        with pytest.raises(ValueError, match="mode must be one of"):
            extractor.run_nl(texts, mode="x")  # type: ignore[arg-type]  # the point of the test


def test_a_handle():
    with Extractor(fallback="none") as extractor:
        handle = extractor.submit([program(i) for i in range(10)], gold=0)
        results = handle.result(timeout=30)
        assert results.value.tolist() == list(range(10))
        assert handle.result() is results
        assert handle.done()


def test_a_handle_times_out_and_is_cancelled():
    with Extractor(fallback="none", limits=Limits(max_steps=2**31 - 1)) as extractor:
        handle = extractor.submit([LOOP])
        with pytest.raises(TimeoutError, match=r"not done after 0\.05 s"):
            handle.result(timeout=0.05)
        assert not handle.done()
        handle.cancel()
        assert handle.result(timeout=30).status.tolist() == [Status.CANCELLED]


def test_several_threads_wait_for_one_handle():
    with Extractor(fallback="none") as extractor:
        handle = extractor.submit([program(i) for i in range(5000)])
        found: list[object] = []
        waiting = [threading.Thread(target=lambda: found.append(handle.result())) for _ in range(4)]
        for thread in waiting:
            thread.start()
        for thread in waiting:
            thread.join()
    assert len(found) == 4
    assert len(set(map(id, found))) == 1


def test_cut_program():
    text = "Sure:\n" + program(1)
    assert "def solution" in _extractor.cut_program(text, {})
