"""What a completion yielded, before it is compared with the gold answer.

Owns the value between extraction (running a program, reading a text) and comparison.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from reft_megatron.types import Reason

__all__ = ["Outcome", "parse_report"]

_FAILURES = {
    str(reason): reason
    for reason in (
        Reason.MEMORY,
        Reason.NON_NUMERIC,
        Reason.NO_SOLUTION,
        Reason.RUNTIME_ERROR,
        Reason.SYNTAX_ERROR,
        Reason.TIMEOUT,
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An extracted value, or the reason why there is none."""

    failure: Reason | None = None
    """Why there is no value; None if there is one."""
    value: float | str | None = None
    """The value: a number (perhaps not finite), or text where text was asked for."""
    detail: str = ""
    """Type of the exception or of the result; what broke in an executor fault."""


def parse_report(body: bytes) -> Outcome:
    """The outcome that a worker's reply tells; model code may have written it, so nothing is taken
    on trust. A reply out of form is a runtime error of the program.
    """
    try:
        report = json.loads(body)
        status, value, detail = str(report["status"]), report["value"], str(report["detail"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return Outcome(failure=Reason.RUNTIME_ERROR, detail="BadReply")
    if status == "ok" and isinstance(value, float | str):
        return Outcome(value=value, detail=detail)
    if status in _FAILURES:
        return Outcome(failure=_FAILURES[status], detail=detail)
    return Outcome(failure=Reason.RUNTIME_ERROR, detail="BadReply")
