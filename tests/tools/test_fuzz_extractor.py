"""The tool that compares the extractor with CPython, run whole."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tools import fuzz_extractor
from tools.fuzzing import campaign
from tools.fuzzing.comparison import Pair

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="the oracle is CPython 3.11"
)


def test_agreement_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "differences"
    arguments = ["--programs", "300", "--seed", "3", "--jobs", "1", "--out", str(out)]
    assert fuzz_extractor.main(arguments) == 0
    shown = capsys.readouterr().out.splitlines()
    told = json.loads(shown[-1])
    assert told["programs"] >= 300
    assert told["differences"] == told["crashed"] == 0
    assert told["same"] > 250
    assert any("OK same" in line for line in shown)
    assert not out.exists()


def test_differences_are_made_small_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Pair, "explained", property(lambda pair: "" if ">" in pair.program else "same")
    )
    monkeypatch.setattr(campaign, "run", here)
    arguments = ["--programs", "30", "--kinds", "grammar", "--out", str(tmp_path), "--most", "1"]
    assert fuzz_extractor.main(arguments) == 1
    shown = capsys.readouterr().out.splitlines()
    assert json.loads(shown[-1])["differences"] > 0
    assert shown[-2] == str(tmp_path / "difference_000.txt")
    small, _, rest = (tmp_path / "difference_000.txt").read_text().partition("\n\n")
    assert ">" in small
    assert len(small) < 100
    assert rest.startswith("extractor: ")
    assert "-------------------- made from\ndef solution():" in rest


def test_a_crash_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "run", lambda *_, **__: [campaign.Tally(crashed=["x = 1"])])
    assert fuzz_extractor.main(["--programs", "1", "--out", str(tmp_path)]) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["crashed"] == 1
    text = (tmp_path / "difference_000.txt").read_text()
    assert text == "crashed the process\n\nx = 1\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--python", "/nowhere/python"], "No such file or directory: '/nowhere/python'"),
        (["--kinds", "poems"], "argument --kinds: no such kind: poems"),
    ],
)
def test_what_cannot_be_run_is_one_message(
    capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    try:
        status = fuzz_extractor.main(arguments)
    except SystemExit as stopped:
        status = stopped.code
    assert status == 2
    assert complaint in capsys.readouterr().err


def here(
    todo: list[campaign.Batch], setting: campaign.Setting, *, jobs: int
) -> list[campaign.Tally]:
    del jobs
    return [campaign.run_batch(setting, batch) for batch in todo]


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        fuzz_extractor.main(["--help"])
    shown = capsys.readouterr().out
    assert "python -m tools.fuzz_extractor --programs 20000 --seed 7" in shown
    assert all(kind in shown for kind in campaign.KINDS)
