"""The benchmark of generation, on a few prompts of a tiny model: that it measures and tells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.bench_generate import _precision, main

QUICK = ("--prompts", "4", "--samples", "2", "--mean", "12", "--most", "30", "--data", "nowhere")


@pytest.mark.slow
def test_beside_hugging_face(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "thesis.txt").write_text("of the user")
    sizes = ("--slots", "2,4", "--batches", "4", "--repeats", "2", "--threads", "1")
    assert main([*QUICK, *sizes, "--folder", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    record = json.loads(out.splitlines()[-1])
    assert record["device"] == "cpu"
    for rate in ("tokens_per_s", "hf_tokens_per_s"):
        assert f" {record[rate]:,.1f} " in out, "the table has it too"
    assert " x Hugging Face, 2.0 wanted on a CPU" in out
    assert record["wasted_share"] == 0
    assert 0 < record["hf_wasted_share"] < 1
    assert (record["model"], record["hf_batch"]) == ("galactica-tiny", 4)
    assert record["slots"] in (2, 4)
    assert record["hf_cache"] in ("dynamic", "static")
    assert "Trial of Hugging Face, static cache, tokens/s by sequences at once: 4: " in out
    assert "Trial of ours, tokens/s by sequences at once: 2: " in out
    assert "met: 0.00% of decode steps wasted, 3% allowed" in out
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.megatron
@pytest.mark.slow
def test_two_stages(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    sizes = ("--layout", "pp2", "--slots", "4", "--repeats", "1")
    assert main([*QUICK, *sizes, "--folder", str(tmp_path / "work")]) == 0
    out = capfd.readouterr().out
    record = json.loads(out.splitlines()[-1])
    assert (record["layout"], record["slots"], record["device"]) == ("pp2", 4, "cpu")
    assert record["equal"] == 8
    assert "met: 8 of 8 responses are equal to one rank's" in out
    for shares in (record["stage_idle"], record["stage_idle_after"]):
        assert all(0 < share < 1 for share in shares)
    assert len(record["stage_idle"]) == len(record["stage_less_cpu"]) == 2


@pytest.mark.parametrize("gpu", [True, False])
def test_ranks_on_a_cpu_are_fp32_also_where_there_is_a_gpu(
    gpu: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    assert _precision("pp2") == "fp32"
    assert _precision(None) == ("bf16" if gpu else "fp32")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--slots", "4,0"], "argument --slots: 0 is not 1 or more"),
        (["--caches", "static,paged"], "argument --caches: paged is none of dynamic, static"),
    ],
)
def test_what_is_not_there_is_refused(
    options: list[str], told: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit):
        main(options)
    assert told in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--help"])
    told = capsys.readouterr().out
    assert "python tools/bench_generate.py --model 125m --prompts 32 --repeats 1" in told
    assert "all it can know" in told
