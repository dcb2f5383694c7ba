"""Clocks and turns of the benchmark."""

from __future__ import annotations

import time

from tools.extractor_bench.timing import Spread, interleave, measure


def test_calls_take_turns_after_a_round_that_does_not_count() -> None:
    turns: list[str] = []
    calls = {name: (lambda name=name: turns.append(name)) for name in "ab"}
    times = interleave(calls, rounds=2)
    assert "".join(turns) == "ababab"
    assert {name: len(found) for name, found in times.items()} == {"a": 2, "b": 2}


def test_waiting_is_no_work() -> None:
    waited = measure(lambda: time.sleep(0.05))
    assert waited.wall >= 0.05
    assert waited.cpu < 0.05


def test_a_spread() -> None:
    assert Spread.of(iter([3, 1, 2])) == (2, 1, 3)
