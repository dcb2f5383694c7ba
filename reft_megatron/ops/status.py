"""How a program ended: codes shared by C++ core, workers and trainer.

Owns the numbers, which are public: csrc/extractor/base has the same ones in status.hpp and
exceptions.inc. Standard library only, because the isolated workers load this file too.
"""

from __future__ import annotations

import builtins
import enum

__all__ = ["EXCEPTIONS", "TEXT_BYTES", "Status", "exception_number"]

TEXT_BYTES = 64
"""Bytes of UTF-8 that are kept of a text answer, cut at a character."""


class Status(enum.IntEnum):
    """How a program ended. Only the first two have a value."""

    OK = 0
    """It ended with a finite number, or with text where text was wanted."""
    OK_NONFINITE = 1
    """It ended with nan or an infinity."""
    NON_NUMERIC = 2
    """It ended, and float() of its result fails."""
    NO_ENTRY = 3
    """It defines no `solution` that can be called without arguments, or lacks another entry."""
    SYNTAX_ERROR = 4
    """It does not compile."""
    RUNTIME_ERROR = 5
    """It raised an exception, or crashed its interpreter."""
    STEP_LIMIT = 6
    """It took more steps than it may; only the C++ core counts steps."""
    TIME_LIMIT = 7
    """It took more seconds than it may; only workers watch the clock."""
    MEMORY_LIMIT = 8
    """It wanted more memory, or printed more, than it may."""
    DIGITS_LIMIT = 9
    """It was about to compute an integer longer than it may."""
    INPUT_LIMIT = 10
    """Its text is longer than it may be, or nested deeper."""
    DENIED = 11
    """It reached for what no program may: files, processes, the network, the interpreter."""
    UNSUPPORTED = 12
    """CPython may run it, the C++ core does not, and there are no workers."""
    WORKER_LOST = 13
    """Its worker died, twice, through no fault that can be proved: a fault, not a verdict."""
    CANCELLED = 14
    """The deadline of the whole call came first."""
    INTERNAL = 15
    """A row that is no text, or a defect of the extractor."""


_EXCEPTIONS = """BaseException Exception SystemExit KeyboardInterrupt GeneratorExit StopIteration
    StopAsyncIteration ArithmeticError FloatingPointError OverflowError ZeroDivisionError
    AssertionError AttributeError BufferError EOFError ImportError ModuleNotFoundError LookupError
    IndexError KeyError MemoryError NameError UnboundLocalError OSError BlockingIOError
    ChildProcessError ConnectionError BrokenPipeError ConnectionAbortedError ConnectionRefusedError
    ConnectionResetError FileExistsError FileNotFoundError InterruptedError IsADirectoryError
    NotADirectoryError PermissionError ProcessLookupError TimeoutError ReferenceError RuntimeError
    NotImplementedError RecursionError SyntaxError IndentationError TabError SystemError TypeError
    ValueError UnicodeError UnicodeDecodeError UnicodeEncodeError UnicodeTranslateError Warning
    BytesWarning DeprecationWarning EncodingWarning FutureWarning ImportWarning
    PendingDeprecationWarning ResourceWarning RuntimeWarning SyntaxWarning UnicodeWarning
    UserWarning BaseExceptionGroup ExceptionGroup Other"""
EXCEPTIONS = tuple(_EXCEPTIONS.split())
"""Names of the builtin exception types; the number of one is its place here, the first being 1.

0 is no exception, `Other` any type that is not builtin.
"""

_NUMBERS = {
    getattr(builtins, name): number
    for number, name in enumerate(EXCEPTIONS, 1)
    if hasattr(builtins, name)
}


def exception_number(kind: type[BaseException]) -> int:
    """Number of an exception type, from 1, if it is builtin; that of `Other` for the rest."""
    return _NUMBERS.get(kind, len(EXCEPTIONS))
