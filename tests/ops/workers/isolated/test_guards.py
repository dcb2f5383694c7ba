"""The names a program may use; what it makes of a refusal does not count."""

from __future__ import annotations

import builtins
import re
from types import ModuleType
from typing import Any

import pytest

from reft_megatron.ops.workers.isolated import guards
from reft_megatron.ops.workers.isolated.guards import Denied, OutputLimit, Printer, Refusals


@pytest.fixture
def refusals() -> Refusals:
    return Refusals()


def test_only_the_first_refusal_is_kept(refusals: Refusals) -> None:
    for name in ("open", "eval"):
        with pytest.raises(Denied, match=name):
            refusals.refuse(name)
    assert refusals.first == "open"
    refusals.forget()
    assert refusals.first == ""


def test_events_are_noted_only_of_the_program(refusals: Refusals) -> None:
    def hook() -> None:
        refusals.note_event("os.fork")

    hook()
    assert refusals.first == ""
    exec(compile("hook()", guards.PROGRAM, "exec"), {"hook": hook})
    assert refusals.first == "os.fork"


@pytest.mark.parametrize("name", ["os", "os.path", "socket", "time", "importlib", "builtins"])
def test_modules_that_are_refused(refusals: Refusals, name: str) -> None:
    names = guards.builtins_for(Printer(limit=9, keep=False), refusals)
    with pytest.raises(Denied):
        exec(f"import {name}", {"__builtins__": names})
    assert refusals.first == f"import {name}"


def test_what_datetime_needs_is_not_the_programs(refusals: Refusals) -> None:
    names = guards.builtins_for(Printer(limit=9, keep=False), refusals)
    space = {"__builtins__": names}
    source = "import datetime\nd = datetime.datetime.strptime('2021', '%Y').strftime('%y')"
    exec(compile(source, guards.PROGRAM, "exec"), space)
    assert space["d"] == "21"
    assert refusals.first == ""
    with pytest.raises(Denied):
        exec(compile("__import__('time')", guards.PROGRAM, "exec"), space)


def test_the_stand_in_for_sys(refusals: Refusals) -> None:
    names = guards.builtins_for(Printer(limit=9, keep=False), refusals)
    sys = names["__import__"]("sys")
    assert isinstance(sys, ModuleType)
    assert sys.maxsize > 0
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        sys.nothing  # noqa: B018  # what it raises is the point
    with pytest.raises(Denied):
        sys.modules  # noqa: B018  # as above
    assert refusals.first == "sys.modules"


def test_the_builtins_are_a_copy(refusals: Refusals) -> None:
    names = guards.builtins_for(Printer(limit=9, keep=False), refusals)
    names["len"] = None
    assert builtins.len("ab") == 2
    assert names["open"] is not builtins.open
    for name in ("exit", "quit"):
        with pytest.raises(SystemExit):
            names[name]()


def test_printing_is_counted_in_bytes() -> None:
    printer = Printer(limit=10, keep=False)
    printer.print("ab", 1, sep="-")
    printer.print("\u00e9", end=None)
    assert printer.text() == ""
    with pytest.raises(OutputLimit):
        printer.print("xx")


@pytest.mark.parametrize(
    ("named", "complaint"),
    [
        ({"x": 6}, "'x' is an invalid keyword argument for print()"),
        ({"sep": 3}, "sep must be None or a string, not int"),
    ],
)
def test_printing_raises_as_the_builtin_does(named: dict[str, Any], complaint: str) -> None:
    with pytest.raises(TypeError, match=re.escape(complaint)):
        Printer(limit=10, keep=False).print("a", **named)


def test_printing_is_kept_if_it_is_the_answer() -> None:
    printer = Printer(limit=100, keep=True)
    printer.print("a", 2, sep=None, flush=True)
    printer.print(end="!")
    assert printer.text() == "a 2\n!"


@pytest.mark.parametrize(
    "source",
    ["().__class__", "def f():\n    g = lambda x: x.__globals__", "(i for i in ()).gi_frame"],
)
def test_attributes_that_are_refused(refusals: Refusals, source: str) -> None:
    with pytest.raises(Denied):
        guards.refuse_escapes(compile(source, guards.PROGRAM, "exec"), refusals)
