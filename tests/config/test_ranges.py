"""Each range takes its ends and nothing beyond."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from reft_megatron.config import ranges

INSIDE = {
    "Count": (1, 7),
    "Zero": (0, 7),
    "Positive": (1e-9, 7.5),
    "Fraction": (0, 0.5, 1),
    "NonNegative": (0, 7.5),
}
OUTSIDE = {
    "Count": (0, -1, 1.5),
    "Zero": (-1, 0.5),
    "Positive": (0, -1e-9),
    "Fraction": (-1e-9, 1.000001),
    "NonNegative": (-1e-9,),
}


@pytest.mark.parametrize("name", INSIDE)
def test_a_range_has_its_ends(name: str) -> None:
    adapter = TypeAdapter(getattr(ranges, name))
    assert [adapter.validate_python(value) for value in INSIDE[name]] == list(INSIDE[name])
    for value in OUTSIDE[name]:
        with pytest.raises(ValidationError):
            adapter.validate_python(value)
