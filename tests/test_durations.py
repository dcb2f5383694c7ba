"""Tests of durations as people read them."""

from __future__ import annotations

import pytest

from reft_megatron.durations import duration_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2.0 min"), (7199, "120.0 min"), (10_800, "3.0 h")],
)
def test_a_duration(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
