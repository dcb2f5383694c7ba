"""Where a program starts and ends inside a completion.

Owns the cut. A model that runs on after `return result` writes prose, a second program or a new
question; none of that belongs to the program. The text is scanned, never parsed: hostile text meets
a parser only inside a worker.
"""

from __future__ import annotations

import re

__all__ = ["cut_at_blank_line", "cut_program"]

_SOLUTION = re.compile(r"^def solution\b.*", re.MULTILINE)
# Escapes, strings, comments, brackets, ends of line; all other text is passed over.
_TOKEN = re.compile(
    r"\\."
    r"|(?P<text>'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\")"
    r"|(?P<open_text>'''|\"\"\")"
    r"|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\""
    r"|#[^\n]*"
    r"|(?P<open>[(\[{])|(?P<close>[)\]}])"
    r"|(?P<end>\n)",
    re.DOTALL,
)


def cut_program(text: str) -> str | None:
    """The program in `text`: all that precedes `def solution`, and that function; None without it.

    Helper functions and imports before `def solution` stay. The function ends before the first line
    that starts in column 0 outside strings and brackets, comments aside; a `def solution` directly
    below, without a blank line between, is a second definition and stays (the last one counts).
    """
    text = text.strip()
    start = _SOLUTION.search(text)
    if start is None:
        return text if "def solution" in text else None  # a worker shall say what is wrong with it
    depth = 0
    for token in _TOKEN.finditer(text, start.start()):
        if token.lastgroup == "open_text":
            return text  # the string never ends: nothing after it can be told from it
        if token.lastgroup == "open":
            depth += 1
        elif token.lastgroup == "close":
            depth = max(0, depth - 1)
        elif token.lastgroup == "end" and not depth and _ends_function(text, token.end()):
            return text[: token.start()].rstrip()
    return text


def cut_at_blank_line(text: str) -> str | None:
    """The program as the reference cuts it: up to the first blank line, wherever that stands.

    `sys.exit` becomes `print` (python_engine.py:43-61). None if nothing defines `solution`.
    """
    lines = text.strip().replace("sys.exit", "print").split("\n")
    blank = next((index for index, line in enumerate(lines) if not line.strip()), len(lines))
    program = "\n".join(lines[:blank])
    return program if _SOLUTION.search(program) else None


def _ends_function(text: str, start: int) -> bool:
    """True if the line at `start` is the first that does not belong to the function above it."""
    first = text[start : start + 1]
    if first in ("", "\n", "\r", " ", "\t", "\f", "#"):
        return False
    directly_below = text[start - 2 : start - 1] not in ("\n", "\r")
    return not (directly_below and _SOLUTION.match(text, start))
