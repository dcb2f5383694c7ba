"""CPython's side of the comparison: runs programs, says how they ended.

Runs by path on a bare interpreter (`python -sSP oracle_process.py`), so standard library only.
On stdin a frame is a u32 length, little-endian, and a program in UTF-8 (lone surrogates pass); on
stdout there is one line of JSON for each: `[kind, exception, type, value, text, micros]`. What a
program might reach outside itself is refused. It cannot hurt by accident, but is no sandbox.
"""

from __future__ import annotations

import builtins
import ctypes
import gc
import importlib
import json
import math
import os
import resource
import signal
import struct
import sys
import time
import types
import warnings
from collections.abc import Callable
from typing import Any

__all__ = ["Outcome", "answer", "main"]

Outcome = tuple[str, str, str, str, str]
"""Kind (`value`, `raised`, `syntax`, `no_entry`, `limit` or `denied`), name of the exception, name
of the result's type, float.hex() of its value, and the start of its str().
"""

TEXT_BYTES = 64
RECURSION = 1000
MODULES = """__future__ bisect calendar cmath collections copy dataclasses datetime decimal enum
    fractions functools heapq itertools math numbers operator random re statistics string typing"""
FOREIGN = frozenset(("mpmath", "numpy", "pandas", "scipy", "sympy"))
_REFUSED = ("breakpoint", "compile", "eval", "exec", "exit", "help", "input", "open", "quit")
_LENGTH = struct.Struct("<I")
_HASH_OF_NONE = 0x5F3A1  # the extractor's
_TP_HASH = 120  # where CPython 3.11 keeps a type's hash function, on 64 bits
_MATH = dict(vars(math))


class RefusedError(BaseException):
    """The program reached for what it may not have."""


class TooLongError(BaseException):
    """The program took more time than it may."""


class _Sink:
    """A stdout that keeps nothing."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


class _Foreign(types.ModuleType):
    """Stands for a library that may not be here."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Foreign(name)


def answer(source: str) -> Outcome:
    """How a program ends."""
    try:
        code = compile(source, "<program>", "exec", dont_inherit=True)
    except (MemoryError, RecursionError) as error:
        return "limit", type(error).__name__, "", "", ""
    except Exception as error:
        return "syntax", type(error).__name__, "", "", ""
    try:
        return _run(code)
    except BaseException as error:
        return _failure(error)


def _failure(error: BaseException) -> Outcome:
    if isinstance(error, MemoryError | TooLongError):
        return "limit", type(error).__name__, "", "", ""
    if isinstance(error, RefusedError):
        return "denied", str(error), "", "", ""
    return "raised", _exception_name(type(error)), "", "", ""


def _run(code: types.CodeType) -> Outcome:
    scope = {"__builtins__": dict(_BUILTINS), "__name__": "program", "math": math}
    exec(code, scope)
    solution = scope.get("solution")
    if not callable(solution) or _asks_for_arguments(solution):
        return "no_entry", "", "", "", ""
    result = solution()
    try:
        value = float(result).hex()
    except (TypeError, ValueError, OverflowError):
        value = ""
    return "value", "", type(result).__name__, value, _start(str(result))


def _start(text: str) -> str:
    """At most `TEXT_BYTES` of UTF-8."""
    start = text[:TEXT_BYTES].encode(errors="replace")
    return start[:TEXT_BYTES].decode(errors="ignore")


def _exception_name(kind: type[BaseException]) -> str:
    return kind.__name__ if getattr(builtins, kind.__name__, None) is kind else "Other"


def _asks_for_arguments(solution: object) -> bool:
    if not isinstance(solution, types.FunctionType):
        return False
    code = solution.__code__
    positional = code.co_argcount - len(solution.__defaults__ or ())
    return positional > 0 or code.co_kwonlyargcount > len(solution.__kwdefaults__ or ())


def _import(name: str, *rest: Any, **named: Any) -> types.ModuleType:
    top = name.partition(".")[0]
    if top in FOREIGN:
        return _Foreign(name)
    if top not in MODULES.split():
        raise RefusedError(f"import {name}")
    return __import__(name, *rest, **named)


def _refusal(name: str) -> Callable[..., None]:
    def refused(*_: object, **__: object) -> None:
        raise RefusedError(name)

    return refused


def _stop(_number: int, _frame: types.FrameType | None) -> None:
    raise TooLongError


_BUILTINS = {**vars(builtins), "__import__": _import}
_BUILTINS.update({name: _refusal(name) for name in _REFUSED})


def settle_hash_of_none(number: int) -> Callable[[object], int]:
    """Give None a hash that is no address, so that sets have one order; keep what is returned."""
    function = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.py_object)(lambda _: number)
    place = ctypes.c_void_p.from_address(id(type(None)) + _TP_HASH)
    place.value = ctypes.cast(function, ctypes.c_void_p).value
    return function


def main(seconds: float, memory_bytes: int) -> None:
    """Answer until stdin ends. A program gets `seconds` of processor time."""
    # Frames below a program count too: it shall meet the limit as deep as in a script of its own.
    sys.setrecursionlimit(RECURSION + 4)
    source, replies = sys.stdin.buffer, os.dup(1)
    kept = settle_hash_of_none(_HASH_OF_NONE)
    assert hash(None) == kept(None)
    # Addresses differ from process to process.
    kept_blocks = [bytes(size) for size in range(0, 480, 8) for _ in range(os.urandom(1)[0] % 64)]
    assert kept_blocks is not None
    warnings.simplefilter("ignore")
    for name in MODULES.split():
        importlib.import_module(name)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGVTALRM, _stop)
    sys.stdout = _Sink()
    gc.disable()
    gc.freeze()
    number = 0
    while head := source.read(_LENGTH.size):
        text = source.read(*_LENGTH.unpack(head)).decode(errors="surrogatepass")
        start = time.process_time_ns()
        outcome = _timed(text, seconds)
        micros = (time.process_time_ns() - start) // 1000
        os.write(replies, json.dumps([*outcome, micros]).encode() + b"\n")
        number += 1
        if number % 64 == 0 or micros > 20_000:
            gc.collect()
        if vars(math) != _MATH:
            vars(math).clear()
            vars(math).update(_MATH)


def _timed(text: str, seconds: float) -> Outcome:
    # Again and again: a program may catch the first.
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, 0.05)
    try:
        return answer(text)
    except TooLongError as error:  # between two lines of `answer`
        return _failure(error)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
