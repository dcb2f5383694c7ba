"""Supervised fine-tuning: killed, stopped or left alone, the same run bit for bit."""

from __future__ import annotations

import re
import signal

import pytest

from tests.launch import Launcher, Run, differences
from tests.recipes.conftest import SFT

pytestmark = pytest.mark.megatron
EPOCH = 8
"""Steps of an epoch: 32 problems, four a step."""
SAVED = (*SFT, "checkpoint.every=1", "checkpoint.keep_last=9")


def assert_same(run: Run, whole: Run, *, steps: range) -> None:
    """Bit for bit: metrics, weights, optimizer, random state, and what the recipe remembers."""
    assert run.content("metrics.jsonl") == whole.content("metrics.jsonl")
    assert run.summary == whole.summary
    assert [differences(run, whole, step) for step in steps] == [[]] * len(steps)


def test_the_run_learns(warm: Run) -> None:
    losses = warm.series("train/loss")
    assert len(losses) == 4 * EPOCH
    assert sum(losses[-EPOCH:]) < 0.5 * sum(losses[:EPOCH])
    assert warm.summary == {
        "epochs": 4,
        "steps": 4 * EPOCH,
        "best_dev": max(warm.series("eval/dev_accuracy")),
    }
    assert warm.series("train/epoch") == [1, 2, 3, 4]


def test_kill_9_in_epoch_3_and_resume(launch: Launcher, warm: Run) -> None:
    run = launch.start(4, "sft", "killed", *SAVED)
    run.signal(signal.SIGKILL, once=lambda: run.has(2 * EPOCH) and run.step > 2 * EPOCH)
    assert sorted(run.complaint.split(", ")) == [f"rank {r} ended with status 9" for r in range(4)]
    assert 2 * EPOCH < run.step < 3 * EPOCH
    assert not run.has(3 * EPOCH)
    assert not (run.folder / "summary.json").exists()
    resumed = launch(4, "sft", "killed", *SAVED)
    assert f"resumed after step {2 * EPOCH}" in resumed.out[0]
    assert_same(resumed, warm, steps=range(EPOCH, 4 * EPOCH + 1, EPOCH))


def test_sigterm_in_epoch_2_and_resume(launch: Launcher, warm: Run) -> None:
    run = launch.start(4, "sft", "stopped", *SAVED)
    run.signal(signal.SIGTERM, once=lambda: run.step > EPOCH)
    assert run.codes == [0] * 4
    assert run.err == [""] * 4
    told = re.search(r"stopped by SIGTERM after step (\d+); run the same command", run.out[0])
    step = int(told[1])
    assert EPOCH < step < 2 * EPOCH
    assert run.step == step
    assert run.has(step)
    resumed = launch(4, "sft", "stopped", *SAVED)
    assert f"resumed after step {step}" in resumed.out[0]
    assert_same(resumed, warm, steps=range(EPOCH, 4 * EPOCH + 1, EPOCH))


def test_again_nothing_is_trained(launch: Launcher, warm: Run) -> None:
    patterns = ("metrics.jsonl", "summary.json", "checkpoints/**/*")
    before = [warm.content(pattern) for pattern in patterns]
    again = launch(4, "sft", "warm", *SAVED)
    assert [again.content(pattern) for pattern in patterns] == before


def test_stopping_early_leaves_the_schedule(launch: Launcher, warm: Run) -> None:
    run = launch(4, "sft", "early", *SFT, "sft.stop_after_epoch=1")
    for name in ("train/loss", "train/lr"):
        assert run.series(name) == warm.series(name)[:EPOCH]
    assert run.summary["epochs"] == 1


def test_a_chain_of_thought_without_room(launch: Launcher) -> None:
    message = launch.refused(2, "sft", "long", "optimizer.micro_batch_tokens=30")
    assert re.fullmatch(
        r"reft-megatron: DataError: svamp_\d+ has \d\d tokens with its chain of thought, more than "
        r"optimizer.micro_batch_tokens \(30\)\. Remove it from the data, or make more room\.\n",
        message,
    ), message


def test_a_run_goes_on_at_another_layout(launch: Launcher) -> None:
    """From TP2 x PP2 to two data ranks. (Without dropout, which a layout draws its own way.)"""
    settings = (*SAVED, "sft.epochs=2", "model.dropout=0")
    whole = launch(4, "sft", "staying", *settings)
    run = launch.start(4, "sft", "moving", *settings)
    run.signal(signal.SIGTERM, once=lambda: run.step >= 3)
    assert run.codes == [0] * 4
    step = run.step
    assert 3 <= step < 2 * EPOCH
    moved = [setting for setting in settings if not setting.startswith("parallel.")]
    resumed = launch(2, "sft", "moving", *moved)
    told = f"data 2, cpu, resumed after step {step} (another layout saved it, so its random state"
    assert told in resumed.out[0]
    for name in ("train/loss", "train/grad_norm"):
        assert resumed.series(name) == pytest.approx(whole.series(name), rel=1e-4)
