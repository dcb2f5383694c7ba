"""What the extractor is compared with: exec, the reference's pool, monty.

Owns one function for each, from programs to their answers.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from importlib.metadata import version
from typing import Any, NamedTuple

__all__ = ["Rival", "monty", "run_exec", "run_reference"]

_PROCESSES = 8


class Rival(NamedTuple):
    """Another runner of programs."""

    name: str
    run: Callable[[Sequence[str]], list[Any]]


def run_exec(programs: Sequence[str]) -> list[Any]:
    """Each program in a fresh namespace of this process: no limits, no isolation."""
    with contextlib.redirect_stdout(io.StringIO()):
        return [_execute(program) for program in programs]


def run_reference(programs: Sequence[str]) -> list[Any]:
    """A call as ReFT makes it: a new pool of 8 forked processes, one task for each program.

    Re-typed from its code (src/python_engine.py, `run_python_code`) with the standard library's
    pool in place of pebble's.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        fork = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(max_workers=_PROCESSES, mp_context=fork) as pool:
            futures = [pool.submit(_execute, program) for program in programs]
            return [future.result(timeout=10) for future in futures]


def monty() -> Rival | None:
    """The pydantic-monty that is installed; None if there is none."""
    try:
        module = import_module("pydantic_monty")
    except ImportError:
        return None
    release = version("pydantic-monty")
    if hasattr(module.Monty, "checkout"):
        return Rival(f"pydantic-monty {release}, one subprocess", _in_subprocess(module))
    return Rival(f"pydantic-monty {release}, in process", _in_process(module))


def _execute(program: str) -> Any:
    namespace: dict[str, Any] = {}
    exec(compile(program, "<program>", "exec"), namespace)
    return namespace["solution"]()


def _in_process(module: Any) -> Callable[[Sequence[str]], list[Any]]:
    def run(programs: Sequence[str]) -> list[Any]:
        return [_answer(lambda text: module.Monty(text).run(), program) for program in programs]

    return run


def _in_subprocess(module: Any) -> Callable[[Sequence[str]], list[Any]]:
    def run(programs: Sequence[str]) -> list[Any]:
        answers = []
        with module.Monty(min_processes=1, max_processes=1) as pool:
            for program in programs:
                with pool.checkout() as session:  # a session is what keeps programs apart
                    answers.append(_answer(session.feed_run, program))
        return answers

    return run


def _answer(run: Callable[[str], Any], program: str) -> Any:
    try:
        return run(f"{program}\nsolution()")
    except Exception:  # some versions refuse what Python runs, as an int + a bool
        return None
