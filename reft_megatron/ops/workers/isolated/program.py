"""One model program: compile it, see what it can leave behind, run it.

Owns the way from a program's text to a `frames.Reply`: entries, float() and str() of the answer,
and which status an exception is. Standard library only.
"""

from __future__ import annotations

import ast
import errno
import math
import opcode
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...status import Status, exception_number
from . import frames, guards

__all__ = ["REFUSALS", "Compiled", "compile_program", "failure", "leaves_no_trace", "run_program"]

REFUSALS = guards.Refusals()
"""What was refused to the program that this process runs now."""

# A program without these cannot change anything that outlives its own namespace.
_OPCODES = "DELETE_ATTR LOAD_BUILD_CLASS STORE_ATTR"
_TRACING_OPCODES = frozenset(opcode.opmap[name] for name in _OPCODES.split())
_NAMES = "delattr getattr globals locals setattr sympy type vars"
_TRACING_NAMES = frozenset(_NAMES.split())
_IMPORT, _WIDE = opcode.opmap["IMPORT_NAME"], opcode.opmap["EXTENDED_ARG"]
_STATELESS_MODULES = frozenset({"cmath", "itertools", "math"})
_MISSING = object()
# Fields of objects that the program may have made, read without asking its classes.
_TYPE_NAME: Any = type.__dict__["__name__"]
_ERRNO: Any = OSError.__dict__["errno"]
_STRERROR: Any = OSError.__dict__["strerror"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A program ready to run."""

    body: types.CodeType
    """Its statements, but for the last one where that is the entry."""
    last: types.CodeType | None = None
    """The last statement, if it is an expression and the entry."""


def compile_program(source: str, entry: str) -> Compiled:
    """Compile for one of `frames.ENTRIES`; raises whatever the compiler raises."""
    if entry != "last_expr":
        return Compiled(body=compile(source, guards.PROGRAM, "exec", dont_inherit=True))
    tree = ast.parse(source, guards.PROGRAM)
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr):
        return Compiled(body=compile(tree, guards.PROGRAM, "exec", dont_inherit=True))
    del tree.body[-1]
    return Compiled(
        body=compile(tree, guards.PROGRAM, "exec", dont_inherit=True),
        last=compile(ast.Expression(last.value), guards.PROGRAM, "eval", dont_inherit=True),
    )


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
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return all(leaves_no_trace(code) for code in inner)


def run_program(compiled: Compiled, request: frames.Request) -> frames.Reply:
    """Run a program to its answer; returns a reply, whatever happens.

    `split_namespaces` executes the text with separate globals and locals, so that `solution` does
    not see what the text defines (python_engine.py:33-41).
    """
    REFUSALS.forget()
    printer = guards.Printer(limit=request.limits.output_bytes, keep=request.entry == "stdout")
    spare: dict[str, Any] = {"math": math, "__name__": "program"}
    spare["__builtins__"] = guards.builtins_for(printer, REFUSALS)
    if "sympy" in sys.modules:
        spare["sympy"] = sys.modules["sympy"]
    defined = {} if request.split_namespaces else spare
    try:
        for code in filter(None, (compiled.body, compiled.last)):
            guards.refuse_escapes(code, REFUSALS)
        exec(compiled.body, spare, defined)
        if compiled.last is not None:
            answer = eval(compiled.last, spare, defined)
        elif request.entry == "stdout":
            answer = printer.text().strip() or _MISSING
        else:
            answer = _defined_answer(defined, request.entry)
        if answer is _MISSING:
            reply = frames.Reply(status=Status.NO_ENTRY)
        else:
            reply = _read(answer, request.want_text)
    except BaseException as error:
        reply = failure(error)
    if REFUSALS.first:  # also where the program caught what it got for it
        return frames.Reply(status=Status.DENIED, detail=REFUSALS.first)
    return reply


def failure(error: BaseException) -> frames.Reply:
    """What an exception that left a program says of it."""
    kind = type(error)  # isinstance would ask a class that the program may have written
    name = _name(kind)
    if issubclass(kind, MemoryError | guards.OutputLimit):
        return frames.Reply(status=Status.MEMORY_LIMIT, detail=name)
    # Errors of the kernel and of the audit hook have a number; a program's own seldom do.
    if issubclass(kind, OSError) and _ERRNO.__get__(error) in (errno.EPERM, errno.EACCES):
        cause = _STRERROR.__get__(error)
        return frames.Reply(status=Status.DENIED, detail=cause if type(cause) is str else name)
    return frames.Reply(status=Status.RUNTIME_ERROR, exc=exception_number(kind), detail=name)


def _defined_answer(defined: dict[str, Any], entry: str) -> object:
    if entry != "solution":
        return defined.get(entry, _MISSING)
    solution = defined.get("solution")
    if not callable(solution) or _asks_for_arguments(solution):
        return _MISSING
    return solution()


def _read(answer: Any, want_text: bool) -> frames.Reply:
    kind = _name(type(answer))
    if want_text:
        return frames.Reply(status=Status.OK, text=_plain(str(answer)), detail=kind)
    try:
        value = float(answer)
    except MemoryError:
        raise
    except Exception:
        return frames.Reply(status=Status.NON_NUMERIC, detail=kind)
    status = Status.OK if math.isfinite(value) else Status.OK_NONFINITE
    return frames.Reply(status=status, value=value, detail=kind)


def _name(kind: type) -> str:
    """Name of a type, without asking its metaclass, which the program may have written."""
    return _plain(_TYPE_NAME.__get__(kind))


def _plain(text: str) -> str:
    """The same text as a real str: one of a subclass would run the program's code when used."""
    return "".join((text,))


def _imported(code: types.CodeType) -> frozenset[str]:
    """Names that `code` itself imports; an import behind a wide argument counts as `?`."""
    words = list(zip(code.co_code[::2], code.co_code[1::2], strict=True))
    if any(operation == _WIDE for operation, _ in words):
        return frozenset("?")
    return frozenset(code.co_names[index] for operation, index in words if operation == _IMPORT)


def _asks_for_arguments(solution: Callable[..., object]) -> bool:
    if not isinstance(solution, types.FunctionType):
        return False
    code = solution.__code__
    positional = code.co_argcount - len(solution.__defaults__ or ())
    keywords = code.co_kwonlyargcount - len(solution.__kwdefaults__ or ())
    return positional > 0 or keywords > 0
