"""One program in this process: only harmless programs here, hostile ones go through a worker."""

from __future__ import annotations

import math
import textwrap

import pytest

from reft_megatron.rewards.isolated import program


def run(body: str, *, before: str = "", want: str = "number", split: bool = False) -> object:
    source = before + "def solution():\n" + textwrap.indent(body, "    ")
    code = program.compile_program(source)
    return program.run_program(code, want=want, split_namespaces=split, output_chars=10)


def ok(value: float | str, kind: str) -> dict[str, object]:
    return {"status": "ok", "value": value, "detail": kind}


def failed(status: str, detail: str = "") -> dict[str, object]:
    return {"status": status, "value": None, "detail": detail}


@pytest.mark.parametrize(
    ("body", "report"),
    [
        ("return 7", ok(7.0, "int")),
        ("return True", ok(1.0, "bool")),
        ("return ' 12 '", ok(12.0, "str")),
        ("return b'12'", ok(12.0, "bytes")),
        ("return 2**200", ok(2.0**200, "int")),
        ("return math.ceil(3.2)", ok(4.0, "int")),  # math is there without an import
        ("from math import gcd\nreturn gcd(12, 8)", ok(4.0, "int")),
        ("import fractions\nreturn fractions.Fraction(1, 2)", ok(0.5, "Fraction")),
        ("import sys\nreturn min(sys.maxsize, 3)", ok(3.0, "int")),
        ("print('ab', 1, sep='-')\nreturn 1", ok(1.0, "int")),
        ("pass", failed("non_numeric", "NoneType")),
        ("return 10**400", failed("non_numeric", "int")),
        ("return 1, 2", failed("non_numeric", "tuple")),
        ("return '12 apples'", failed("non_numeric", "str")),
        ("yield 3", failed("non_numeric", "generator")),
        ("return 1 / 0", failed("runtime_error", "ZeroDivisionError")),
        ("raise SystemExit", failed("runtime_error", "SystemExit")),
        ("raise KeyboardInterrupt", failed("runtime_error", "KeyboardInterrupt")),
        ("import os", failed("runtime_error", "ImportError")),
        ("import os.path", failed("runtime_error", "ImportError")),
        ("from collections.abc import Sequence\nreturn 1", ok(1.0, "int")),
        ("return __import__('socket')", failed("runtime_error", "ImportError")),
        ("return open('/etc/passwd')", failed("runtime_error", "PermissionError")),
        ("return eval('1')", failed("runtime_error", "PermissionError")),
        ("exit()", failed("runtime_error", "PermissionError")),
        ("return ().__class__", failed("runtime_error", "PermissionError")),
        ("return getattr((), '__cl' + 'ass__')", failed("runtime_error", "PermissionError")),
        ("return getattr((), 'x', 5)", ok(5.0, "int")),
        ("return (i for i in ()).gi_frame", failed("runtime_error", "PermissionError")),
        ("print('x' * 11)", failed("runtime_error", "OutputLimit")),
        ("for _ in range(9):\n    print('x')", failed("runtime_error", "OutputLimit")),
        ("raise MemoryError", failed("memory")),
    ],
)
def test_report(body: str, report: dict[str, object]) -> None:
    assert run(body) == report


def test_not_finite_numbers_are_values() -> None:
    assert math.isnan(run("return float('nan')")["value"])
    assert run("return -1e308 * 10")["value"] == -math.inf


@pytest.mark.parametrize(
    ("body", "text"),
    [("return 'C'", "C"), ("return None", "None"), ("return 'x' * 100", "x" * 64)],
)
def test_text_is_the_start_of_str(body: str, text: str) -> None:
    assert run(body, want="text")["value"] == text


@pytest.mark.parametrize(
    "source",
    [
        "x = 1",
        "solution = 3",
        "def solution(n):\n    return n",
        "def solution(*, n):\n    return n",
    ],
)
def test_no_solution_to_call(source: str) -> None:
    code = program.compile_program(source)
    report = program.run_program(code, want="number", split_namespaces=False, output_chars=10)
    assert report == failed("no_solution")


def test_defaults_may_stand_in_for_arguments() -> None:
    code = program.compile_program("def solution(n=4, *, m=2):\n    return n + m")
    report = program.run_program(code, want="number", split_namespaces=False, output_chars=10)
    assert report == ok(6.0, "int")


def test_split_namespaces_hide_what_the_text_defines() -> None:
    before = "rate = 3\n"
    assert run("return rate", before=before) == ok(3.0, "int")
    assert run("return rate", before=before, split=True) == failed("runtime_error", "NameError")


@pytest.mark.parametrize(
    ("source", "traceless"),
    [
        ("def solution():\n    a = [1]\n    a[0] = 2\n    return sum(a)", True),
        ("def solution():\n    return math.sqrt(4)", True),
        ("import math\ndef solution():\n    return math.sqrt(4)", True),
        ("def solution():\n    from math import floor, pi\n    return floor(pi)", True),
        ("def solution():\n    return [i for i in range(3) if i]", True),
        ("math.sqrt = 1", False),
        ("del math.sqrt", False),
        ("def solution():\n    def f():\n        math.sqrt = 1\n    f()", False),
        ("f = lambda: setattr(math, 'pi', 3)", False),
        ("vars(math)['pi'] = 3", False),
        ("globals()['math'] = 1", False),
        ("getattr(math, 'pi')", False),
        ("import random", False),
        ("import math, random", False),
        ("from decimal import *", False),
        ("class A:\n    pass", False),
        ("type('A', (), {})", False),
        ("__builtins__['print'] = 1", False),
        ("sympy.pi", False),
        ("".join(f"a{i} = {i}\n" for i in range(300)) + "import random", False),
    ],
)
def test_what_can_leave_a_trace(source: str, traceless: bool) -> None:
    assert program.leaves_no_trace(program.compile_program(source)) is traceless
