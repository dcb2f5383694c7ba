"""The benchmark of the rollout buffer, on a few thousand rollouts: that it measures and tells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.bench_buffer import main


@pytest.mark.slow
def test_it_ends_with_a_line_of_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "thesis.txt").write_text("of the user")
    asked = ["--count", "20000", "--memory-mb", "5", "--micro-batch-tokens", "16384"]
    assert main([*asked, "--folder", str(tmp_path), "--data", str(tmp_path / "none")]) == 0
    told = capsys.readouterr().out
    assert "log-normal" in told, "it says that lengths were drawn"
    assert "10,000 right rollouts" not in told, "some have the same text"
    record = json.loads(told.splitlines()[-1])
    assert record["count"] == 20_000
    # Not the target of a million: so few sequences leave each rank only some twenty micro-batches.
    assert 0.9 < record["fill"] <= 1
    assert record["imbalance"] <= 0.02
    assert {"balance_s_per_100k", "rss_mib", "rss_growth_mib"} < record.keys()
    low, high = record["write_ratio_quartiles"]
    assert 0 < low <= record["write_ratio"] <= high
    assert "median of 2 iterations" in told
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_sequence_above_the_budget_is_a_plain_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    asked = ["--count", "10", "--micro-batch-tokens", "20", "--data", str(tmp_path)]
    assert main([*asked, "--folder", str(tmp_path / "work")]) == 1
    assert "and a micro-batch holds 20; raise" in capsys.readouterr().err
    assert not [*(tmp_path / "work").iterdir()]
