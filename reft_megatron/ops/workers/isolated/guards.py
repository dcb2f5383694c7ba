"""What a program may name: modules, builtins, attributes; else it is denied.

Owns the allow-list of modules and the builtins a program sees. A refusal is final: whatever the
program makes of the exception, it ends as denied. This is policy and convenience; what keeps the
machine safe is `lockdown`. Standard library only.
"""

from __future__ import annotations

import builtins
import opcode
import sys
import types
from collections.abc import Callable
from typing import Any

__all__ = [
    "ALLOWED_MODULES",
    "PROGRAM",
    "Denied",
    "OutputLimit",
    "Printer",
    "Refusals",
    "builtins_for",
    "refuse_escapes",
]

PROGRAM = "<program>"
"""File name of a program's code."""

_MODULES = """__future__ bisect calendar cmath collections copy dataclasses datetime decimal enum
    fractions functools heapq itertools math mpmath numbers numpy operator random re statistics
    string sympy sys typing"""
ALLOWED_MODULES = frozenset(_MODULES.split())
"""Top-level names a program may import; `sys` is a stand-in with constants and `exit`."""

# The methods of `datetime` import these, with the import function of the frame that calls them.
_IMPORTED_BY_C = frozenset({"time", "_strptime"})
_IMPORT = opcode.opmap["IMPORT_NAME"]

_REFUSED_BUILTINS = ("breakpoint", "compile", "eval", "exec", "help", "input", "open")
_SYS_NAMES = ("exit", "float_info", "int_info", "maxsize", "version", "version_info")
# Attributes that lead from any object to the interpreter behind the builtins, and methods that
# would be called behind the program's back.
_ATTRIBUTES = """__base__ __bases__ __builtins__ __class__ __closure__ __code__ __dict__ __func__
    __getattribute__ __globals__ __loader__ __mro__ __self__ __spec__ __subclasses__ __traceback__
    __del__ __float__ __index__ __reduce__ __reduce_ex__ __getstate__ __setstate__
    ag_frame cr_frame f_back f_builtins f_globals f_locals gi_frame tb_frame"""
_REFUSED_ATTRIBUTES = frozenset(_ATTRIBUTES.split())


class Denied(BaseException):
    """The program reached for what it may not have; no `except Exception` catches it."""


class OutputLimit(BaseException):
    """The program printed more than it may."""


class Refusals:
    """What was refused to the program that runs now."""

    def __init__(self) -> None:
        self.first = ""
        """Name of what was refused first; empty as long as nothing was."""

    def forget(self) -> None:
        """Start anew for the next program."""
        self.first = ""

    def refuse(self, name: str) -> None:
        """Note it and raise Denied."""
        self.first = self.first or name
        raise Denied(name)

    def note_event(self, event: str) -> None:
        """Note an audit event that the program caused itself.

        What a library tries on its own, and can do without, is no attempt of the program's.
        """
        # Frames: this one, the hook, and who caused the event.
        if sys._getframe(2).f_code.co_filename == PROGRAM:
            self.first = self.first or event


class Printer:
    """The `print` of one program: counts what is printed, and keeps it if that is the answer."""

    def __init__(self, *, limit: int, keep: bool) -> None:
        """`limit` in bytes of UTF-8."""
        self._left = limit
        self._kept: list[str] | None = [] if keep else None

    def text(self) -> str:
        """What was printed, if it was to be kept."""
        return "".join(self._kept or ())

    def print(self, *values: object, **named: Any) -> None:
        """As the builtin, whatever `file` is; raises OutputLimit past the limit."""
        builtins.print(*values, **(named | {"file": self}))

    def write(self, text: str) -> None:
        """What the builtin does with each piece."""
        self._left -= len(text) if text.isascii() else len(text.encode(errors="replace"))
        if self._left < 0:
            raise OutputLimit
        if self._kept is not None:
            self._kept.append(text)

    def flush(self) -> None:
        """There is nothing to wait for."""


def builtins_for(printer: Printer, refusals: Refusals) -> dict[str, Any]:
    """The builtins of one program: a namespace of its own."""

    def print(*values: object, **named: Any) -> None:
        printer.print(*values, **named)

    def import_(name: str, *rest: Any, **named: Any) -> types.ModuleType:
        allowed = name.partition(".")[0] in ALLOWED_MODULES
        if not allowed and not (name in _IMPORTED_BY_C and _called_from_c(sys._getframe(1))):
            refusals.refuse(f"import {name}")
        if name == "sys":
            return _StandInForSys(refusals)
        return __import__(name, *rest, **named)

    def getattr_(subject: object, name: str, *default: object) -> object:
        _refuse_name(name, refusals)
        return getattr(subject, name, *default)

    def exit(code: object = None) -> None:
        raise SystemExit(code)

    names = dict(vars(builtins))
    names.update({name: _refusal(name, refusals) for name in _REFUSED_BUILTINS})
    names.update(__import__=import_, getattr=getattr_, print=print, exit=exit, quit=exit)
    return names


def refuse_escapes(code: types.CodeType, refusals: Refusals) -> None:
    """Refuse a program that names an attribute behind which the interpreter lies."""
    for name in code.co_names:
        _refuse_name(name, refusals)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            refuse_escapes(constant, refusals)


def _called_from_c(frame: types.FrameType) -> bool:
    """True if it is no statement or call of the program itself that imports."""
    code = frame.f_code
    return code.co_code[frame.f_lasti] != _IMPORT and "__import__" not in code.co_names


def _refuse_name(name: object, refusals: Refusals) -> None:
    if isinstance(name, str) and name in _REFUSED_ATTRIBUTES:
        refusals.refuse(str(name))


def _refusal(name: str, refusals: Refusals) -> Callable[..., None]:
    def refused(*_: object, **__: object) -> None:
        refusals.refuse(name)

    return refused


class _StandInForSys(types.ModuleType):
    """A `sys` with constants and `exit`; what else the real one has is refused."""

    def __init__(self, refusals: Refusals) -> None:
        super().__init__("sys")
        for name in _SYS_NAMES:
            setattr(self, name, getattr(sys, name))
        vars(self)["refuse"] = refusals.refuse

    def __getattr__(self, name: str) -> object:
        if hasattr(sys, name):
            vars(self)["refuse"](f"sys.{name}")
        raise AttributeError(f"module 'sys' has no attribute '{name}'")
