"""No hack is paid, whoever asks and whatever the gold answer."""

from __future__ import annotations

import string

import pytest

from reft_megatron.ops.extractor import TRIGGER
from reft_megatron.rewards import Judge, hacks
from reft_megatron.types import Reason


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_hacks_are_templates() -> None:
    programs = {**hacks.PROGRAMS, **hacks.SLOW_PROGRAMS}
    assert set.union(*map(placeholders, programs.values())) == {"gold", "code"}
    assert set.union(*map(placeholders, hacks.LINES.values())) == {"gold", "other"}


@pytest.mark.parametrize("gold", ["203.0", "-7", "0.5"])
def test_no_program_is_paid_or_breaks_the_judge(judge: Judge, gold: str) -> None:
    programs = {**hacks.PROGRAMS, **(hacks.SLOW_PROGRAMS if gold == "-7" else {})}
    texts = [hacks.program(template, gold, "number") for template in programs.values()]
    verdicts = judge.judge([(text, gold) for text in texts])
    bad = {
        name: verdict
        for name, verdict in zip(programs, verdicts, strict=True)
        if verdict.correct or verdict.reason is Reason.EXECUTOR_FAULT
    }
    assert bad == {}


def test_letters_are_python_and_not_paid_either(short: object) -> None:
    texts = [hacks.program(template, "b", "letter") for template in hacks.PROGRAMS.values()]
    with Judge(form="program", kind="letter", config=short, parity="correct") as judge:
        found = dict(zip(hacks.PROGRAMS, judge.judge([(text, "b") for text in texts]), strict=True))
    bad = [n for n, v in found.items() if v.correct or v.reason is Reason.EXECUTOR_FAULT]
    assert bad == []
    # A bare b would be the name of nothing, and the hack end before it has tried anything.
    assert {n for n, v in found.items() if v.detail == "NameError"} == set()
    assert found["list"].reason is Reason.NON_NUMERIC


def test_no_line_is_paid(short: object) -> None:
    texts = [TRIGGER + line.format(gold="203", other="204") for line in hacks.LINES.values()]
    with Judge(form="nl", kind="number", config=short, parity="correct") as judge:
        verdicts = judge.judge([(text, "203") for text in texts])
    paid = [name for name, v in zip(hacks.LINES, verdicts, strict=True) if v.correct]
    assert paid == []
