"""Tests of the quickstart's last page, on runs made up here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reft_megatron.config import load_config, to_yaml
from reft_megatron.log import RunLog
from tools.quickstart_story import main

TOP1 = {"base": 0.02, "warmup": 0.3, "sft": 0.44, "reft": 0.56}
VOTE = {"warmup": 0.35, "sft": 0.47, "reft": 0.58}


def write_runs(folder: Path, num_test: int = 50) -> None:
    """What `examples/quickstart.sh` leaves, in small."""
    for run, top1 in TOP1.items():
        test = folder / f"{run}-test"
        test.mkdir(parents=True)
        votes = {"samples": 16, "vote": VOTE[run]} if run in VOTE else {}
        summary = {"split": "test", "num_problems": num_test, "top1": top1, **votes}
        (test / "summary.json").write_text(json.dumps(summary))
        right = round(top1 * num_test)
        rows = [
            {
                "problem": f"problem {number}",
                "answer": "3",
                "completion": f"return {run}",
                "verdict": "correct" if number < right else "wrong_value",
            }
            for number in range(num_test)
        ]
        (test / "completions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = load_config(None, ["run.seed=4", "task.train_size=500", "log.tensorboard=false"])
    for run in ("sft", "reft"):
        with RunLog(folder / run, config, main=True) as log:
            log.record(1, {"eval/dev_accuracy": TOP1[run]})
        (folder / run / "config.yaml").write_text(to_yaml(config))
    (folder / "seconds.tsv").write_text("base\t100\nsft\t7\nsft\t13\nreft\t60\n")


def test_the_story_is_told_in_a_summary_a_table_and_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_runs(tmp_path)
    assert main([str(tmp_path)]) == 0
    assert json.loads((tmp_path / "summary.json").read_text()) == {
        "seed": 4,
        "num_train": 500,
        "num_test": 50,
        "num_votes": 16,
        "base_top1": 0.02,
        "base_top1_interval": [0.0035, 0.105],
        "warmup_top1": 0.3,
        "warmup_top1_interval": [0.191, 0.4375],
        "warmup_vote": 0.35,
        "warmup_vote_interval": [0.2329, 0.4886],
        "sft_top1": 0.44,
        "sft_top1_interval": [0.3116, 0.5769],
        "sft_vote": 0.47,
        "sft_vote_interval": [0.3388, 0.6055],
        "reft_top1": 0.56,
        "reft_top1_interval": [0.4231, 0.6884],
        "reft_vote": 0.58,
        "reft_vote_interval": [0.4423, 0.7062],
        "points_over_warmup": 26.0,
        "points_over_sft": 12.0,
        "seconds": 180,
        "stage_seconds": {"base": 100, "sft": 20, "reft": 60},
    }
    printed = capsys.readouterr().out
    assert "The same 50 held-out problems" in printed
    rows = [line.split() for line in printed.splitlines() if "%" in line]
    cells = [[word for word in row if word not in ("\u2502", "to")] for row in rows[1:]]
    assert cells == [
        ["base", "2.0%", "0.4%", "10.5%"],
        ["warm-up", "30.0%", "19.1%", "43.8%", "35.0%", "23.3%", "48.9%"],
        ["SFT", "44.0%", "31.2%", "57.7%", "47.0%", "33.9%", "60.5%"],
        ["ReFT", "56.0%", "42.3%", "68.8%", "58.0%", "44.2%", "70.6%"],
    ]
    page = (tmp_path / "report.html").read_text()
    for text in ("+26.0 points", "+12.0 points", "3.0 min", "problem 15", "return reft"):
        assert text in page


def test_a_missing_stage_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_runs(tmp_path)
    (tmp_path / "sft-test" / "summary.json").unlink()
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"quickstart_story: {tmp_path}/sft-test/summary.json is not there or not whole: "
        "run examples/quickstart.sh to its end.\n"
    )


def test_stages_of_different_tests_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_runs(tmp_path)
    path = tmp_path / "base-test" / "summary.json"
    path.write_text(json.dumps({"num_problems": 9, "top1": 0.0}))
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"quickstart_story: the stages of {tmp_path} answered different numbers of test problems, "
        "[9, 50]: remove its *-test folders and run examples/quickstart.sh again.\n"
    )
