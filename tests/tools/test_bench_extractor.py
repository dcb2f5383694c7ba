"""The benchmark of the extractor, run whole, but quickly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.bench_extractor import main

KEYS = {
    *("svamp_per_s", "real_per_s", "ratio_exec", "call4_us", "call64_us", "batch_100x1319_s"),
    *("p99_us", "fast_share", "nl_strict_per_s", "nl_lenient_per_s", "memory_mib"),
}


@pytest.mark.shared_data
@pytest.mark.slow
def test_a_quick_look(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(shared_data), "--quick", "--soak", "1000"]) == 0
    lines = capsys.readouterr().out.splitlines()
    record = json.loads(lines[-1])
    assert record.keys() >= KEYS
    assert record["quick"] is True
    assert record["batch_100x1319_s"] is None  # the quick batch is another
    assert record["batch_4x250_s"] > 0
    assert record["fast_share"] > 0.9
    assert record["ratio_exec"] > 1
    assert "SVAMP programs: 300 of 300 right." in lines
    assert any("100.00%" in line and "met" in line for line in lines)


def test_without_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"bench_extractor: {tmp_path}/mwp_reft/svamp_python_sdp.json: ")
    assert "--data names the folder" in told.err
