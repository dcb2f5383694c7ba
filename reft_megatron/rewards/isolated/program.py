"""One model program: compile it, see what it can leave behind, run it, report.

Owns the allow-list of modules, the builtins a program sees, and the reduction of whatever it did to
a small report (`status`, `value`, `detail`). This is policy and convenience; what keeps the machine
safe is `lockdown`. Standard library only.

Statuses are the values of `types.Reason`, plus `ok`.
"""

from __future__ import annotations

import builtins
import math
import opcode
import sys
import types
from collections.abc import Callable
from typing import Any

__all__ = [
    "ALLOWED_MODULES",
    "Report",
    "compile_program",
    "leaves_no_trace",
    "report",
    "run_program",
]

Report = dict[str, Any]

_MODULES = """__future__ bisect calendar cmath collections copy dataclasses datetime decimal enum
    fractions functools heapq itertools math mpmath numbers numpy operator random re statistics
    string sympy sys typing"""
ALLOWED_MODULES = frozenset(_MODULES.split())
"""Top-level names a program may import; `sys` is a stand-in with constants and `exit`."""

_TEXT_LIMIT = 64
_BUILTINS = "breakpoint compile eval exec exit help input open quit"
_REFUSED_BUILTINS = _BUILTINS.split()
# Attributes that lead from any object to the interpreter behind the builtins.
_ATTRIBUTES = """__base__ __bases__ __builtins__ __class__ __closure__ __code__ __dict__ __func__
    __getattribute__ __globals__ __loader__ __mro__ __self__ __spec__ __subclasses__ __traceback__
    ag_frame cr_frame f_back f_builtins f_globals f_locals gi_frame tb_frame"""
_REFUSED_ATTRIBUTES = frozenset(_ATTRIBUTES.split())
# A program without these cannot change anything that outlives its own namespace.
_OPCODES = "DELETE_ATTR LOAD_BUILD_CLASS STORE_ATTR"
_TRACING_OPCODES = frozenset(opcode.opmap[name] for name in _OPCODES.split())
_NAMES = "delattr getattr globals locals setattr sympy type vars"
_TRACING_NAMES = frozenset(_NAMES.split())
_IMPORT, _WIDE = opcode.opmap["IMPORT_NAME"], opcode.opmap["EXTENDED_ARG"]
_STATELESS_MODULES = frozenset({"cmath", "itertools", "math"})


class OutputLimit(BaseException):
    """The program printed more than it may."""


def compile_program(source: str) -> types.CodeType:
    """The code object; raises whatever the compiler raises."""
    return compile(source, "<program>", "exec", dont_inherit=True)


def leaves_no_trace(code: types.CodeType) -> bool:
    """True if running `code` cannot change what a later program in the same process sees.

    True of arithmetic, loops, containers and calls of builtins and `math`; False as soon as a
    program imports a module with state, defines a class, sets an attribute or touches a
    double-underscore name.
    """
    operations = code.co_code[::2]
    if not _TRACING_OPCODES.isdisjoint(operations):
        return False
    if any(name in _TRACING_NAMES or name.startswith("__") for name in code.co_names):
        return False
    if _IMPORT in operations and not _imported(code) <= _STATELESS_MODULES:
        return False
    return all(leaves_no_trace(inner) for inner in _inner(code))


def run_program(
    code: types.CodeType, *, want: str, split_namespaces: bool, output_chars: int
) -> Report:
    """Define and call `solution()`; returns a report, whatever happens.

    `want` is `number` (the result as Python's float()) or `text` (the start of its str()).
    `split_namespaces` executes the text with separate globals and locals, so that `solution` does
    not see what the text defines (python_engine.py:33-41).
    """
    spare: dict[str, Any] = {"math": math, "__name__": "program"}
    spare["__builtins__"] = _builtins(output_chars)
    if "sympy" in sys.modules:
        spare["sympy"] = sys.modules["sympy"]
    defined = {} if split_namespaces else spare
    try:
        _refuse_escapes(code)
        exec(code, spare, defined)
        solution = defined.get("solution")
        if not callable(solution) or _asks_for_arguments(solution):
            return report("no_solution")
        return _result(solution(), want)
    except MemoryError:
        return report("memory")
    except BaseException as error:
        return report("runtime_error", detail=type(error).__name__)


def report(status: str, *, value: float | str | None = None, detail: str = "") -> Report:
    """A report fit to be sent: text cut to 64 characters."""
    return {"status": status, "value": value, "detail": detail[:_TEXT_LIMIT]}


def _result(result: Any, want: str) -> Report:
    if want == "text":
        return report("ok", value=str(result)[:_TEXT_LIMIT], detail=type(result).__name__)
    try:
        value = float(result)
    except MemoryError:
        raise
    except Exception:
        return report("non_numeric", detail=type(result).__name__)
    return report("ok", value=value, detail=type(result).__name__)


def _inner(code: types.CodeType) -> list[types.CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]


def _imported(code: types.CodeType) -> frozenset[str]:
    """Names that `code` itself imports; an import behind a wide argument counts as `?`."""
    words = list(zip(code.co_code[::2], code.co_code[1::2], strict=True))
    if any(operation == _WIDE for operation, _ in words):
        return frozenset("?")
    return frozenset(code.co_names[index] for operation, index in words if operation == _IMPORT)


def _refuse_escapes(code: types.CodeType) -> None:
    for name in code.co_names:
        _refuse_name(name)
    for inner in _inner(code):
        _refuse_escapes(inner)


def _refuse_name(name: object) -> None:
    if name in _REFUSED_ATTRIBUTES:
        raise PermissionError(f"denied: {name}")


def _asks_for_arguments(solution: Callable[..., object]) -> bool:
    if not isinstance(solution, types.FunctionType):
        return False
    code = solution.__code__
    positional = code.co_argcount - len(solution.__defaults__ or ())
    keywords = code.co_kwonlyargcount - len(solution.__kwdefaults__ or ())
    return positional > 0 or keywords > 0


def _builtins(output_chars: int) -> dict[str, Any]:
    names = dict(vars(builtins))
    names.update({name: _refusal(name) for name in _REFUSED_BUILTINS})
    names.update(__import__=_import, getattr=_getattr, print=_printer(output_chars))
    return names


def _refusal(name: str) -> Callable[..., None]:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(f"denied: {name}")

    return refused


def _import(name: str, *rest: Any, **named: Any) -> types.ModuleType:
    if name.partition(".")[0] not in ALLOWED_MODULES:
        raise ImportError(f"denied: {name}")
    if name == "sys":
        return _stand_in_for_sys()
    return __import__(name, *rest, **named)


def _stand_in_for_sys() -> types.ModuleType:
    module = types.ModuleType("sys")
    for name in ("exit", "float_info", "int_info", "maxsize", "version", "version_info"):
        setattr(module, name, getattr(sys, name))
    return module


def _getattr(subject: object, name: str, *default: object) -> object:
    _refuse_name(name)
    return getattr(subject, name, *default)


def _printer(limit: int) -> Callable[..., None]:
    printed = 0

    def print(*values: object, sep: str | None = " ", end: str | None = "\n", **_: object) -> None:
        nonlocal printed
        text = (" " if sep is None else sep).join(map(str, values))
        printed += len(text) + len("\n" if end is None else end)
        if printed > limit:
            raise OutputLimit

    return print
