"""Majority vote."""

from __future__ import annotations

import pytest

from reft_megatron.rewards import majority


@pytest.mark.parametrize(
    ("values", "winner"),
    [
        ([], None),
        ([None, None], None),
        ([None, 3.0], 1),
        ([1.0, 2.0, 2.0], 1),
        ([1.0, 2.0, 2.0, 1.0], 0),  # a tie: first seen
        ([2.0, 1.0, 1.0, 2.0], 0),
        ([3.0, 5.0, 3.0000000004, 5.0, 3.009], 0),  # one bucket within 1e-2
        ([3.0, 3.02, 3.02], 1),
        ([None, None, None, 7.0], 3),  # failures do not vote
        ([float("nan"), float("nan"), 1.0, 1.0], 2),  # NaN agrees with nothing
        (["a", "b", "b"], 1),
        (["b", "a"], 0),
    ],
)
def test_winner(values: list[float | str | None], winner: int | None) -> None:
    assert majority(values) == winner


def test_a_bucket_is_measured_from_its_first_value() -> None:
    # 1.016 is near 1.008 but not near 1.0, so it opens a bucket of its own.
    assert majority([1.0, 1.008, 1.016, 5.0, 5.0, 5.0]) == 3
    assert majority([1.0, 1.008, 1.016]) == 0
