"""What a completion yielded, before it is compared with the gold answer.

Owns the value between extraction (running a program, reading a text) and comparison.
"""

from __future__ import annotations

from dataclasses import dataclass

from reft_megatron.types import Reason

__all__ = ["Outcome"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An extracted value, or the reason why there is none."""

    failure: Reason | None = None
    """Why there is no value; None if there is one."""
    value: float | str | None = None
    """The value: a number (perhaps not finite), or text where text was asked for."""
    detail: str = ""
    """Type of the exception or of the result; which limit; what broke in an executor fault."""
