"""Tests of the stopwatch and its bars."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from reft_megatron.log.phases import Phases


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, force_interactive=True, width=100)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_seconds_and_tokens_of_repeated_phases_are_summed():
    phases = Phases(terminal(), visible=False)
    for _ in range(2):
        with phases.phase("update", 300, "tokens") as phase:
            phase.advance(100)
            phase.advance(50)
            time.sleep(0.02)
    timings = phases.timings()
    assert list(timings) == ["time/update", "time/iteration", "speed/update_tokens_per_s"]
    assert 0.04 <= timings["time/update"] <= timings["time/iteration"] < 5
    assert timings["speed/update_tokens_per_s"] == 300 / timings["time/update"]


def test_reading_resets():
    phases = Phases(terminal(), visible=False)
    with phases.phase("score", 10, "tokens") as phase:
        phase.advance(10)
    phases.timings()
    assert list(phases.timings()) == ["time/iteration"]


def test_only_tokens_have_a_speed():
    phases = Phases(terminal(), visible=False)
    with phases.phase("reward", 4, "programs") as phase:
        phase.advance(4)
    assert list(phases.timings()) == ["time/reward", "time/iteration", "speed/reward_share"]


def test_a_phase_that_fails_is_timed_too():
    phases = Phases(terminal(), visible=False)
    with pytest.raises(ZeroDivisionError), phases.phase("generate", None, "sequences"):
        _ = 1 / 0
    assert list(phases.timings()) == ["time/generate", "time/iteration"]


@pytest.mark.parametrize(
    ("name", "unit", "message"),
    [
        ("generating", "tokens", "unknown metric time/generating; the nearest known one is "
         "time/generate. Add new metrics to reft_megatron/log/metrics.py."),
        ("reward", "tokens", "unknown metric speed/reward_tokens_per_s; the nearest known one is "
         "speed/score_tokens_per_s. Add new metrics to reft_megatron/log/metrics.py."),
    ],
)  # fmt: skip
def test_a_phase_that_is_no_metric_is_refused(name: str, unit: str, message: str):
    with pytest.raises(KeyError) as error, Phases(terminal(), visible=False).phase(name, 1, unit):
        pass
    assert error.value.args == (message,)


def test_a_terminal_shows_the_bar_with_its_rate():
    console = terminal()
    with Phases(console, visible=True).phase("generate", 5000, "tokens") as phase:
        phase.advance(2500)
        time.sleep(0.01)
        phase.advance(2500)
    last = re.sub(r"\x1b\[[0-9?;]*[A-Za-z]", "", written(console)).splitlines()[-1]
    words = r"generate +\S+ 5,000/5,000 tokens  [\d,]+ tokens/s 0:00:00"
    assert re.fullmatch(words, last.strip()), last


def test_an_unknown_total_is_not_shown():
    console = terminal()
    with Phases(console, visible=True).phase("generate", None, "tokens") as phase:
        phase.advance(1234)
    assert "1,234 tokens" in written(console)


@pytest.mark.parametrize(
    ("console", "visible"),
    [(terminal(), False), (Console(file=io.StringIO(), force_terminal=False), True)],
)
def test_nothing_is_shown_when_not_asked_or_no_terminal(console: Console, visible: bool):
    with Phases(console, visible=visible).phase("generate", 10, "tokens") as phase:
        phase.advance(10)
    assert written(console) == ""
