"""The process in which the reward of a custom task is called.

Owns loading the user's file, calling its function, turning whatever comes back, or out, into one
message, and ending with who started it. Run as `python -m`, with the file and the descriptor to
answer on. The code is the user's and trusted: nothing is locked away from it.
"""

from __future__ import annotations

import importlib.util
import inspect
import io
import json
import math
import numbers
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from reft_megatron.types import Problem, Reason, Verdict

__all__ = ["FUNCTION", "LoadError", "answer", "load", "main"]

FUNCTION = "reward"
"""Name of the function in the user's file."""

_WATCH = "import os; os.read(0, 1); os.killpg(0, 9)"
"""Ends its group of processes once the other end of its standard input is closed."""
_WANTED = "wanted `def reward(problem, completion)`"
_DETAIL = 200


class LoadError(Exception):
    """The file has no reward function that can be called; the message says what is there."""


def main(path: str, descriptor: str) -> None:
    """Load the file, say so, and answer until the other end is closed.

    Standard input is a pipe from who started this, and nothing comes through it.
    """
    os.set_inheritable(int(descriptor), False)  # or a child would keep the line open
    watch = _watch_starter()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # printing a completion is no mistake
    connection = Connection(int(descriptor))
    try:
        function = load(Path(path))
    except LoadError as error:
        connection.send_bytes(json.dumps({"error": str(error)}).encode())
        return
    connection.send_bytes(b"{}")
    while True:
        try:
            asked = json.loads(connection.recv_bytes())
        except EOFError:
            watch.wait()  # to be ended, with what calls have started
            return
        connection.send_bytes(json.dumps(answer(function, asked, path)).encode())


def _watch_starter() -> subprocess.Popen[bytes]:
    """A process that ends this one, and all that calls have started, with who started it.

    The kernel's own signal for that reaches no grandchild. User code finds an empty input.
    """
    watch = subprocess.Popen([sys.executable, "-IS", "-c", _WATCH])
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return watch


def load(path: Path) -> Callable[..., Any]:
    """The function `reward` of the file at `path`; raises LoadError if there is none.

    The file's folder can be imported from, as if the file were run.
    """
    if not path.is_file():
        raise LoadError(f"there is no file {path}")
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location("custom_reward", path)
    if spec is None or spec.loader is None:
        raise LoadError(f"{path} is no Python file; its name should end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:  # also what leaves the interpreter: the file is to be mended
        raise LoadError(f"{path} cannot be imported: {_told(error, str(path))}") from error
    function = getattr(module, FUNCTION, None)
    if function is None:
        names = [n for n, value in vars(module).items() if inspect.isfunction(value)]
        raise LoadError(f"{path} has no function `{FUNCTION}` but {names}; {_WANTED}")
    _check_signature(function, path)
    return function  # type: ignore[no-any-return]  # callable, as the signature has shown


def answer(function: Callable[..., Any], asked: dict[str, Any], path: str) -> dict[str, Any]:
    """{"verdict": its fields}, or {"fault": what went wrong}."""
    try:
        found = function(Problem(**asked["problem"]), asked["completion"])
        return {"verdict": _fields(found)}
    except BaseException as error:  # whatever user code raises is told, exits too
        return {"fault": _told(error, path)}


def _check_signature(function: object, path: Path) -> None:
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise LoadError(f"`{FUNCTION}` of {path} is no plain function; {_WANTED}")
    signature = inspect.signature(function)
    try:
        signature.bind(None, None)
    except TypeError:
        raise LoadError(f"`{FUNCTION}` of {path} takes {signature}; {_WANTED}") from None


def _fields(found: object) -> dict[str, Any]:
    """The fields of a verdict; raises TypeError or ValueError for anything else."""
    if not isinstance(found, Verdict):
        raise TypeError(
            f"{FUNCTION} returned {found!r:.60}; wanted right(...), wrong(...) or no_answer(...)"
        )
    if found.reason is Reason.EXECUTOR_FAULT:
        raise ValueError(found.detail or "the reward says that it could not judge")
    return {
        "reason": found.reason.value,
        "value": _vote(found.value),
        "detail": str(found.detail)[:_DETAIL],
    }


def _vote(value: object) -> float | str | None:
    """What a verdict's value counts as: a number that is none of a float's has no vote.

    Models write such numbers, so they are no mistake of the function's. Raises ValueError for what
    is neither a number nor one letter.
    """
    if value is None or (isinstance(value, str) and len(value) == 1 and value.isalpha()):
        return value
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise ValueError(f"{FUNCTION} gave the value {value!r:.60}; wanted a number or one letter")
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _told(error: BaseException, path: str) -> str:
    """The exception and the line of the user's file that it came through."""
    text = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    line = error.lineno if isinstance(error, SyntaxError) else None
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == path:
            line = frame.lineno
    place = f" ({Path(path).name}, line {line})" if line else ""
    return text[:_DETAIL] + place


if __name__ == "__main__":
    main(*sys.argv[1:])
