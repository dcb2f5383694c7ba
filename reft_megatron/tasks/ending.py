"""Where a program has returned, and what follows is without effect.

Owns one rule on the text of a completion, which is the body of `def solution():`. It is asked at
every line end while the completion grows.
"""

from __future__ import annotations

import ast
import re

__all__ = ["returned"]

_RETURN = re.compile(r"^(?:    |\t)return\b", re.MULTILINE)
"""A statement of the body itself: under an `if` or a loop it is indented further."""


def returned(body: str) -> bool:
    """True if the whole lines of `body` are complete and a statement of its own level returns.

    Complete means that it parses: no bracket, string or continuation is open. What does not parse
    and never will is not over either; it ends at the length limit.
    """
    body = body[: body.rfind("\n") + 1]
    if not _RETURN.search(body):
        return False
    try:
        function = ast.parse(f"def solution():\n{body}").body[0]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return isinstance(function, ast.FunctionDef) and any(
        isinstance(statement, ast.Return) for statement in function.body
    )
