"""Tests of the run's log."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from reft_megatron.config import Config, load_config
from reft_megatron.errors import ConfigError
from reft_megatron.log import GLOSSARY, RunLog


def quiet(*overrides: str) -> Config:
    return load_config(None, ["log.tensorboard=false", *overrides])


def run(folder: Path, steps: range, *, start_step: int = 0) -> None:
    with RunLog(folder, quiet(), main=True, start_step=start_step) as log:
        for step in steps:
            with log.phase("update", 8, "tokens") as phase:
                phase.advance(8)
            log.record(step, {"train/loss": 2 / 3 / step, "kl/sequence": -0.1 * step})
            log.record(step, log.timings())


def test_a_resumed_run_leaves_the_files_of_an_uninterrupted_one(tmp_path: Path):
    run(tmp_path / "whole", range(1, 7))
    run(tmp_path / "resumed", range(1, 6))
    run(tmp_path / "resumed", range(4, 7), start_step=4)
    name = "metrics.jsonl"
    assert (tmp_path / "resumed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert (tmp_path / "resumed" / "timing.jsonl").read_text().count('"step"') == 6


def test_timings_are_kept_apart_and_keys_keep_the_glossary_order(tmp_path: Path):
    metrics = {"time/update": 2, "train/lr": 1e-3, "speed/update_tokens_per_s": 7, "kl/token": 0.1}
    with RunLog(tmp_path, quiet(), main=True) as log:
        log.record(3, metrics)
    assert (tmp_path / "metrics.jsonl").read_text() == (
        '{"step": 3, "kl/token": 0.1, "train/lr": 0.001}\n'
    )
    assert (tmp_path / "timing.jsonl").read_text() == (
        '{"step": 3, "time/update": 2.0, "speed/update_tokens_per_s": 7.0}\n'
    )


@pytest.mark.parametrize("main", [True, False])
def test_an_unknown_metric_is_refused_on_every_rank(tmp_path: Path, main: bool):
    with RunLog(tmp_path, quiet(), main=main) as log, pytest.raises(KeyError) as error:
        log.record(1, {"train/los": 1.0})
    assert error.value.args == (
        "unknown metric train/los; the nearest known one is train/loss. "
        "Add new metrics to reft_megatron/log/metrics.py.",
    )


def test_other_ranks_write_and_print_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with RunLog(tmp_path / "run", load_config(None), main=False) as log:
        log.say("hello")
        with log.phase("update", 8, "tokens") as phase:
            phase.advance(8)
        log.record(1, {"train/loss": 1.0, **log.timings()})
        log.table(1, 1)
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "run").exists()


def test_tensorboard_gets_every_metric(tmp_path: Path):
    with RunLog(tmp_path, load_config(None), main=True) as log:
        log.record(1, {"train/loss": 0.5, "time/update": 3.0})
        log.record(2, {"train/loss": 0.25})
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    loss = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert loss == [(1, 0.5), (2, 0.25)]
    assert [event.value for event in events.Scalars("time/update")] == [3.0]


def test_tensorboard_hides_what_a_resumed_run_repeats(tmp_path: Path):
    for start_step, value in ((0, 1.0), (2, 9.0)):
        with RunLog(tmp_path, load_config(None), main=True, start_step=start_step) as log:
            for step in range(max(start_step, 1), 4):
                log.record(step, {"train/loss": value})
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    loss = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert loss == [(1, 1.0), (2, 9.0), (3, 9.0)]


@pytest.mark.parametrize("main", [True, False])
def test_wandb_that_is_not_installed_is_told_on_every_rank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, main: bool
):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError) as error:
        RunLog(tmp_path, quiet("log.wandb_project=reft"), main=main)
    assert str(error.value) == (
        "log.wandb_project is set, but the package wandb is not installed. "
        "Run `pip install wandb`, or leave log.wandb_project empty."
    )


def test_the_table_shows_what_was_last_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "80")
    with RunLog(tmp_path, quiet(), main=True) as log:
        log.record(2, {"train/loss": 9.0, "eval/dev_accuracy": 0.5})
        log.record(3, {"train/loss": 0.25, "verdict/correct": 0.4, "verdict/timeout": 0.0})
        log.record(3, {"reward/mean": 0.43, "train/epoch": 12345, "faults/executor": 0})
        log.table(3, 10)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line.isascii()] == [
        "step 3 of 10",
        "  reward    mean=0.43",
        "  verdict   correct=40.0%",
        "  train     loss=0.25   epoch=12,345",
    ]


def test_a_table_of_the_report_is_shown_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    rows = [("top-1", "[41.2%]"), ("vote@16", "7.0%")]
    with RunLog(tmp_path, quiet(), main=True) as log:
        log.show(title="Accuracy", header=("", "right"), rows=rows, note="Of few.")
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line.isascii()] == [
        "Accuracy",
        "right",
        "top-1     [41.2%]",
        "vote@16      7.0%",
        "Of few.",
    ]


def test_what_is_said_is_printed_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    text = "[bold]not markup[/bold] " + 30 * "long " + "line"
    with RunLog(tmp_path, quiet(), main=True) as log:
        log.say(text)
    assert capsys.readouterr().out == text + "\n"


def test_the_whole_glossary_can_be_recorded(tmp_path: Path):
    with RunLog(tmp_path, quiet(), main=True) as log:
        log.record(1, dict.fromkeys(GLOSSARY, 1.0))
        log.table(1, 1)
    written = (tmp_path / "metrics.jsonl").read_text() + (tmp_path / "timing.jsonl").read_text()
    assert all(f'"{name}": 1.0' in written for name in GLOSSARY)
