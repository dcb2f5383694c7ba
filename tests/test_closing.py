"""A block that ends closes what it was opened with, and hides no error."""

from __future__ import annotations

import pytest

from reft_megatron.closing import Closing


class Door(Closing):
    """Counts how often it was closed."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_the_end_of_a_block_closes() -> None:
    with Door() as door:
        assert (type(door), door.closed) == (Door, 0)
    assert door.closed == 1


def test_an_error_closes_too_and_goes_on() -> None:
    door = Door()
    with pytest.raises(ValueError, match=r"^out$"), door:
        raise ValueError("out")
    assert door.closed == 1


def test_what_cannot_be_closed_cannot_be_made() -> None:
    with pytest.raises(TypeError, match=r"abstract method '?close'?"):
        type("Wall", (Closing,), {})()
