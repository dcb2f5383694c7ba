"""Tests of which pictures there are and of what is said of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from reft_megatron.commands.reproduce.report.pictures import (
    at_k,
    calibration,
    learning,
    paired,
    reward_against_kl,
    verdicts,
)
from reft_megatron.commands.reproduce.results import Results
from reft_megatron.config import Config
from reft_megatron.config.settings_file import write_settings
from tests.commands.reproduce.report.test_grid import about, method, results
from tests.commands.reproduce.test_names import METHOD


def run(folder: Path, *records: dict[str, float]) -> tuple[Path]:
    folder.mkdir()
    rows = [{"step": step, **record} for step, record in enumerate(records, 1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return (folder,)


@pytest.fixture
def two(tmp_path: Path) -> Results:
    """SFT, which samples nothing in training, and ReFT, which does."""
    sft = run(tmp_path / "sft", {"eval/dev_accuracy": 0.4}, {"eval/dev_accuracy": 0.3})
    reft = run(
        tmp_path / "reft",
        {"verdict/correct": 0.25, "verdict/timeout": 0.75, "kl/sequence": 0.0, "reward/mean": 0.3},
        {"verdict/correct": 0.5, "verdict/timeout": 0.5, "kl/sequence": 1.5, "reward/mean": 0.6,
         "eval/dev_accuracy": 0.45, "train/epoch": 1.0},
    )  # fmt: skip
    return results(
        replace(method("SFT", 1, 0.4), runs=sft), replace(method("ReFT", 1, 0.6), runs=reft)
    )


def test_accuracy_at_k_is_told_in_words(two: Results):
    first, second = at_k(two, 1)
    assert (first.title, second.title) == ("SFT", "ReFT")
    assert second.alt == "ReFT, accuracy against k: vote 65.0% at 2 to 70.0% at 8."


def test_learning_curves_say_who_did_not_count_passes(two: Results):
    passes, seconds = learning(two)
    assert (passes.key, passes.caption) == ("learning-passes", "Not counted by SFT.")
    assert (seconds.key, seconds.caption) == ("learning-seconds", "")
    sft = two.methods[0]
    write_settings(sft.runs[-1], Config(), "offline_sl")
    passes, _ = learning(two)
    assert passes.caption == (
        "Not counted by SFT. A pass of SFT is one over gold chains and samples alike, several "
        "texts of a problem."
    )
    assert seconds.alt == (
        "Against time: SFT (seed 1) from 40.0% to 30.0%, best 40.0%; ReFT (seed 1) from 45.0% to "
        "45.0%, best 45.0%."
    )


def test_verdicts_are_those_of_who_samples_while_learning(two: Results):
    (image,) = verdicts(two, 1)
    assert image.alt == (
        "ReFT, share of each verdict: correct 25.0% to 50.0%; timeout 75.0% to 50.0%."
    )


def test_reward_against_kl_needs_both(two: Results):
    (image,) = reward_against_kl(two)
    assert image.alt == (
        "Mean reward against the KL divergence per response: ReFT from reward 0.30 at 0.00 nats to "
        "0.60 at 1.50."
    )


def test_differences_are_drawn_seed_by_seed():
    both = results(*(method(name, seed, 0.5) for seed in (1, 2) for name in ("SFT", "ReFT")))
    top1, vote = paired(both)
    assert (top1.title, vote.title) == ("top-1, over SFT", "vote@8 minus top-1")
    assert top1.alt == (
        "Differences in points, top-1, over SFT: ReFT, seed 1 +10.0 (+7.0 to +13.0); ReFT, seed 2 "
        "+10.0 (+7.0 to +13.0)."
    )


def test_calibration_is_that_of_the_scored_samples(scene: Results):
    images = calibration(scene, 2)
    assert [image.title for image in images] == ["warm-up, seed 2", "SFT, seed 2", "ReFT, seed 2"]
    assert all("Expected calibration error 0." in image.caption for image in images)
    assert all("area under the ROC curve 0." in image.caption for image in images)


def test_a_method_without_anything_has_no_pictures(tmp_path: Path):
    bare = results(replace(METHOD, evaluation=tmp_path, figures={"top-1": about(0.5)}))
    found = [at_k(bare, 1), learning(bare), verdicts(bare, 1), reward_against_kl(bare)]
    assert [*found, calibration(bare, 1), paired(bare)] == [[]] * 6
