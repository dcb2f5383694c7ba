"""One program in this process: only harmless programs here, hostile ones go through a worker."""

from __future__ import annotations

import math
import signal
import textwrap

import pytest

from reft_megatron.ops.status import EXCEPTIONS, Status
from reft_megatron.ops.workers.isolated import program
from reft_megatron.ops.workers.isolated.frames import Limits, Reply, Request

LIMITS = Limits(wall_s=1.0, memory_bytes=0, output_bytes=10)


def run_source(
    source: str, *, entry: str = "solution", text: bool = False, split: bool = False
) -> Reply:
    request = Request(
        id=1, source=source, limits=LIMITS, entry=entry, want_text=text, split_namespaces=split
    )
    return program.run_program(program.compile_program(source, entry), request)


def run(body: str, *, before: str = "", text: bool = False, split: bool = False) -> Reply:
    source = before + "def solution():\n" + textwrap.indent(body, "    ")
    return run_source(source, text=text, split=split)


@pytest.mark.parametrize(
    ("body", "value", "kind"),
    [
        ("return 7", 7.0, "int"),
        ("return True", 1.0, "bool"),
        ("return ' 12 '", 12.0, "str"),
        ("return b'12'", 12.0, "bytes"),
        ("return 2**200", 2.0**200, "int"),
        ("return math.ceil(3.2)", 4.0, "int"),  # math is there without an import
        ("from math import gcd\nreturn gcd(12, 8)", 4.0, "int"),
        ("import fractions\nreturn fractions.Fraction(1, 2)", 0.5, "Fraction"),
        ("import sys\nreturn min(sys.maxsize, 3)", 3.0, "int"),
        ("from collections.abc import Sequence\nreturn 1", 1.0, "int"),
        ("print('ab', 1, sep='-')\nreturn 1", 1.0, "int"),
        ("return getattr((), 'x', 5)", 5.0, "int"),
        ("try:\n    raise MemoryError\nexcept MemoryError:\n    return 1", 1.0, "int"),
    ],
)
def test_values(body: str, value: float, kind: str) -> None:
    assert run(body) == Reply(status=Status.OK, value=value, detail=kind)


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ("pass", Status.NON_NUMERIC, "NoneType"),
        ("return 10**400", Status.NON_NUMERIC, "int"),
        ("return 1, 2", Status.NON_NUMERIC, "tuple"),
        ("return '12 apples'", Status.NON_NUMERIC, "str"),
        ("yield 3", Status.NON_NUMERIC, "generator"),
        ("print('x' * 11)", Status.MEMORY_LIMIT, "OutputLimit"),
        ("for _ in range(9):\n    print('x')", Status.MEMORY_LIMIT, "OutputLimit"),
        ("raise MemoryError", Status.MEMORY_LIMIT, "MemoryError"),
    ],
)
def test_no_value(body: str, status: Status, detail: str) -> None:
    reply = run(body)
    assert (reply.status, reply.exc, reply.detail) == (status, 0, detail)
    assert math.isnan(reply.value)


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("return 1 / 0", "ZeroDivisionError"),
        ("raise SystemExit", "SystemExit"),
        ("exit()", "SystemExit"),
        ("import sys\nsys.exit('done')", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("def f(): return f()\nreturn f()", "RecursionError"),
        ("raise PermissionError('mine')", "PermissionError"),
        ("return int('9' * 5000)", "ValueError"),
        ("raise IndentationError", "IndentationError"),
        ("raise ExceptionGroup('many', [ValueError()])", "ExceptionGroup"),
    ],
)
def test_exceptions(body: str, name: str) -> None:
    reply = run(body)
    assert (reply.status, reply.detail) == (Status.RUNTIME_ERROR, name)
    assert EXCEPTIONS[reply.exc - 1] == name


def test_an_exception_of_its_own() -> None:
    reply = run("raise ValueError('mine')", before="class ValueError(Exception): pass\n")
    assert reply.status is Status.RUNTIME_ERROR
    assert (EXCEPTIONS[reply.exc - 1], reply.detail) == ("Other", "ValueError")


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("import os", "import os"),
        ("import os.path", "import os.path"),
        ("return __import__('socket')", "import socket"),
        ("return open('/etc/passwd')", "open"),
        ("return eval('1')", "eval"),
        ("return input()", "input"),
        ("return ().__class__", "__class__"),
        ("return getattr((), '__cl' + 'ass__')", "__class__"),
        ("return (i for i in ()).gi_frame", "gi_frame"),
        ("import sys\nsys.setrecursionlimit(9)", "sys.setrecursionlimit"),
        ("try:\n    import os\nexcept ImportError:\n    return 1", "import os"),
        ("try:\n    import os\nexcept:\n    return 1", "import os"),
        ("try:\n    open('x')\nfinally:\n    return 1", "open"),
        ("class A:\n    def __float__(self): return 1.0\nreturn A()", "__float__"),
    ],
)
def test_refusals_are_final(body: str, what: str) -> None:
    assert run(body)[:2] == (Status.DENIED, 0)
    assert run(body).detail == what
    assert run("return 1").status is Status.OK  # the next program is another


def test_errors_of_the_kernel_are_refusals() -> None:
    assert program.failure(signal.ItimerError(1, "no"))[:2] == (Status.DENIED, 0)
    assert program.failure(FileNotFoundError(2, "no")).status is Status.RUNTIME_ERROR
    refused = PermissionError(1, "Operation not permitted")
    assert program.failure(refused)[:2] == (Status.DENIED, 0)
    assert program.failure(PermissionError(1, object())).detail == "PermissionError"


def test_not_finite_numbers() -> None:
    assert run("return float('nan')").status is Status.OK_NONFINITE
    reply = run("return -1e308 * 10")
    assert (reply.status, reply.value) == (Status.OK_NONFINITE, -math.inf)


@pytest.mark.parametrize(
    ("body", "text"),
    [("return 'C'", "C"), ("return None", "None"), ("return 'x' * 100", "x" * 64)],
)
def test_text_is_the_start_of_str(body: str, text: str) -> None:
    reply = Reply.unpack(run(body, text=True).pack(1))[1]
    assert (reply.status, reply.text) == (Status.OK, text)
    assert math.isnan(reply.value)


HOSTILE = """
class Text(str):
    def __getitem__(self, at): raise SystemExit
    def encode(self, *rest, **named): raise SystemExit
class Meta(type):
    __name__ = property(lambda self: 1 / 0)
class Wrong(Exception, metaclass=Meta): pass
class Number(metaclass=Meta):
    def __str__(self): return Text("abc")
"""


def test_no_code_of_the_program_runs_after_it() -> None:
    reply = run("return Number()", before=HOSTILE, text=True)
    assert (type(reply.text), reply.text, reply.detail) == (str, "abc", "Number")
    assert reply.pack(1)
    assert run("raise Wrong", before=HOSTILE).detail == "Wrong"


@pytest.mark.parametrize(
    "source",
    [
        "x = 1",
        "solution = 3",
        "def solution(n):\n    return n",
        "def solution(*, n):\n    return n",
        "",
    ],
)
def test_no_solution_to_call(source: str) -> None:
    assert run_source(source).status is Status.NO_ENTRY


def test_defaults_may_stand_in_for_arguments() -> None:
    assert run_source("def solution(n=4, *, m=2):\n    return n + m").value == 6


@pytest.mark.parametrize(
    ("entry", "source", "value"),
    [
        ("ans", "ans = 3", 3.0),
        ("ans", "answer = 3", None),
        ("answer", "answer = '3.5'", 3.5),
        ("stdout", "print('', 4, '')", 4.0),
        ("stdout", "print()", None),
        ("last_expr", "x = 2\nx + 3", 5.0),
        ("last_expr", "def f():\n    return 2\nf()", 2.0),
        ("last_expr", "x = 2", None),
        ("last_expr", "", None),
    ],
)
def test_other_entries(entry: str, source: str, value: float | None) -> None:
    reply = run_source(source, entry=entry)
    if value is None:
        assert reply.status in (Status.NO_ENTRY, Status.NON_NUMERIC)
    else:
        assert (reply.status, reply.value) == (Status.OK, value)


def test_split_namespaces_hide_what_the_text_defines() -> None:
    before = "rate = 3\n"
    assert run("return rate", before=before).value == 3
    reply = run("return rate", before=before, split=True)
    assert (reply.status, reply.detail) == (Status.RUNTIME_ERROR, "NameError")


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
    compiled = program.compile_program(source, "solution")
    assert program.leaves_no_trace(compiled.body) is traceless
