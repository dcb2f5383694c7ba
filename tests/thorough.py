"""How much the tests try: what CI has time for, or with REFT_THOROUGH=1 all there is.

Nothing is left out but more of the same: every kind of case is in the smaller choice.
"""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")

THOROUGH = os.environ.get("REFT_THOROUGH", "") not in ("", "0")


def choose(few: T, everything: T) -> T:
    """The larger choice where it is asked for."""
    return everything if THOROUGH else few
