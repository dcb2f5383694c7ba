"""Replies of workers, which model code may have written."""

from __future__ import annotations

import pytest

from reft_megatron.rewards.outcome import Outcome, parse_report
from reft_megatron.types import Reason

BAD = Outcome(failure=Reason.RUNTIME_ERROR, detail="BadReply")


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b'{"status": "ok", "value": 3.5, "detail": "int"}', Outcome(value=3.5, detail="int")),
        (b'{"status": "ok", "value": "c", "detail": "str"}', Outcome(value="c", detail="str")),
        (
            b'{"status": "timeout", "value": null, "detail": ""}',
            Outcome(failure=Reason.TIMEOUT),
        ),
        (b'{"status": "ok", "value": null, "detail": ""}', BAD),
        (b'{"status": "ok", "value": [1], "detail": ""}', BAD),
        (b'{"status": "correct", "value": 1.0, "detail": ""}', BAD),
        (b'{"status": "executor_fault", "value": null, "detail": ""}', BAD),
        (b'{"status": ["ok"], "value": 1.0, "detail": ""}', BAD),
        (b'{"status": "ok"}', BAD),
        (b"[]", BAD),
        (b"\xff\xfe", BAD),
        (b"[" * 100_000, BAD),
        (b"", BAD),
    ],
)
def test_nothing_is_taken_on_trust(body: bytes, outcome: Outcome) -> None:
    assert parse_report(body) == outcome
