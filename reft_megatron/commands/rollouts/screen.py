"""How rollouts look on a screen and in a pipe.

Owns the width, the look of tables, the colours of verdicts, and that text which a model wrote is
shown as it is but never obeyed: neither as markup nor as control characters of a terminal.
"""

from __future__ import annotations

import re

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reft_megatron.types import Reason

__all__ = ["console", "plain", "style", "table"]

_PIPED_WIDTH = 100
_STYLES = {Reason.CORRECT: "green", Reason.WRONG_VALUE: "yellow"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def console() -> Console:
    """Standard output; a pipe is as wide as the tables want, and has no colours."""
    made = Console(markup=False, emoji=False, highlight=False)
    if not made.is_terminal:
        made.width = _PIPED_WIDTH
    return made


def table() -> Table:
    """A table without columns, with little between them."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def plain(text: str, style: str = "") -> Text:
    """The text with its control characters spelt out; line breaks and tabs stay."""
    return Text(_CONTROL.sub(lambda found: ascii(found[0])[1:-1], text), style)


def style(reason: str) -> str:
    """Colour of a verdict."""
    return _STYLES.get(Reason(reason), "red")
