"""Each verdict of a custom reward is worth what it says."""

from __future__ import annotations

from reft_megatron.rewards import majority, no_answer, reward, right, wrong


def test_what_they_are_worth() -> None:
    assert [reward(v, partial=0.2) for v in (right(3.0), wrong(4.0), no_answer("x"))] == [1, 0.2, 0]
    assert [reward(v, partial=0.2) for v in (right(), wrong())] == [1, 0.2]
    assert no_answer("no number").detail == "no number"


def test_values_vote() -> None:
    verdicts = [right(), wrong(4.0), right("b"), no_answer(), wrong("b")]
    assert majority([verdict.value for verdict in verdicts]) == 2
