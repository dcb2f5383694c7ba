"""Tests of the files of results."""

from __future__ import annotations

import json
from pathlib import Path

from reft_megatron.commands.reproduce.figures import gather
from reft_megatron.commands.reproduce.pipeline_file import read_pipeline
from reft_megatron.commands.reproduce.results_file import write_results
from tests.commands.reproduce.pipelines import evaluated, finished


def test_every_figure_of_every_seed_and_the_spread(tmp_path: Path) -> None:
    write_results(gather(finished(tmp_path)))
    tree = json.loads((tmp_path / "runs" / "results.json").read_text())
    assert (tree["name"], tree["seeds"], tree["num_problems"]) == ("small", [1, 2], 4)
    reft = tree["methods"][3]
    assert (reft["name"], reft["seed"], reft["ledger"]) == ("ReFT", 2, None)
    assert reft["runs"][-1] == f"{tmp_path}/runs/seed-2/reft"
    assert reft["figures"]["top-1"]["value"] == 0.75
    assert set(reft["figures"]["top-1"]) == {"value", "low", "high"}
    assert reft["paper"]["top-1"]["source"] == "arXiv 2401.08967 v1, table 2"
    assert tree["over_seeds"]["ReFT"]["figures"]["top-1"] == {
        "median": 0.625,
        "low": 0.5,
        "high": 0.75,
    }
    assert tree["over_seeds"]["ReFT"]["gains"]["vote@2 - top-1"]["median"] == 0.125


def test_the_summary_of_several_seeds_has_medians(tmp_path: Path) -> None:
    write_results(gather(finished(tmp_path)))
    assert json.loads((tmp_path / "runs" / "summary.json").read_text()) == {
        "seeds": [1, 2],
        "num_test": 4,
        "split": "test",
        "num_votes": 2,
        "sft_top1": 0.375,
        "reft_top1": 0.625,
        "reft_vote": 0.75,
        "reft_rerank": 1.0,
        "points_over_sft": 25.0,
        "seconds": 120.0,
        "stage_seconds": dict.fromkeys(
            ["tokens", "warmup", "sft", "reft", "sft-test", "reft-test"], 20.0
        ),
    }


def test_the_summary_of_one_seed_has_intervals(tmp_path: Path) -> None:
    finished(tmp_path)
    pipeline = read_pipeline(tmp_path / "small.yaml", seeds=[1])
    write_results(gather(pipeline))
    tree = json.loads((tmp_path / "runs" / "seed-1" / "summary.json").read_text())
    assert (tree["reft_top1"], tree["reft_top1_interval"]) == (0.5, [0.0, 1.0])
    assert not (tmp_path / "runs" / "summary.json").exists()


def test_two_tests_of_one_policy_have_keys_of_their_own(tmp_path: Path) -> None:
    again = ("table:\n", "  sft-again:\n    like: sft-test\ntable:\n  Again: {stage: sft-again, "
             "role: rival}\n")  # fmt: skip
    finished(tmp_path, again)
    evaluated(tmp_path / "runs" / "seed-1" / "sft-again", {"top-1": [1.0, 1.0, 1.0, 0.0]})
    write_results(gather(read_pipeline(tmp_path / "small.yaml", seeds=[1])))
    tree = json.loads((tmp_path / "runs" / "seed-1" / "summary.json").read_text())
    assert (tree["sft_test_top1"], tree["sft_again_top1"], tree["reft_top1"]) == (0.25, 0.75, 0.5)
    assert (tree["points_over_sft_test"], tree["points_over_sft_again"]) == (25.0, -25.0)
    assert "sft_top1" not in tree
