"""The benchmark of conversions, on a few megabytes: that it measures and tells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools import bench_convert
from tools.bench_convert import main


@pytest.mark.slow
def test_it_ends_with_a_line_of_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bench_convert, "_SHAPE", "galactica-125m")
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "mine").write_text("x")
    assert main(["--folder", str(folder), "--gb", "0.001", "--repeats", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    record = json.loads(lines[-1])
    assert record["ratio_cp"] == min(record["ratio_cp_in"], record["ratio_cp_out"])
    # An embedding and a layer are what it makes at least.
    assert 0.08 < record["gb"] < 0.12
    assert 100 < record["peak_rss_mib"] < 1638
    assert "cp, not synchronised" in "\n".join(lines)
    assert [path.name for path in folder.iterdir()] == ["mine"]
