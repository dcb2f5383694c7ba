"""What a setting may be: the ranges of numbers, and how strict a section is.

Owns the types that sections are written in; no setting is named here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

__all__ = ["STRICT", "Count", "Fraction", "NonNegative", "Positive", "StrictCount", "Zero"]

Count = Annotated[int, Field(ge=1)]
StrictCount = Annotated[int, Field(ge=1, strict=True)]
"""Inside lists, which nobody searches for what pydantic takes for a number."""
Zero = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True)
"""Of every section: unknown keys are errors, and the text under a field is its meaning."""
