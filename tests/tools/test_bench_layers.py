"""The benchmark of layers where there is no GPU: blocks are checked, nothing is timed."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from tools import bench_layers
from tools.bench_layers import main
from tools.layer_bench import blocks


def bench(capsys: pytest.CaptureFixture[str]) -> tuple[int, str, dict[str, Any]]:
    status = main([])
    told = capsys.readouterr().out
    return status, told, json.loads(told.splitlines()[-1])


def test_without_a_gpu_it_checks_and_says_that_speed_is_unmeasured(
    capsys: pytest.CaptureFixture[str],
):
    status, told, record = bench(capsys)
    assert status == 0
    assert "speed is unmeasured: there is no GPU here" in told
    kinds = [row["name"].split(",")[0] for row in record["blocks"]]
    assert kinds == ["feed-forward", "decoding a layer", "log-probs of 40 tokens"]
    for row in record["blocks"]:
        assert row.keys() == {"name", "rival", "far", "wrong"}, "nothing of time"
        assert row["far"] > 0, "FP8, and another order of sums, are seen"


def test_a_block_that_is_wrong_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    right = blocks.feed_forward
    monkeypatch.setattr(blocks, "feed_forward", lambda *x, **how: 1.2 * right(*x, **how))
    status, told, record = bench(capsys)
    assert status == 1
    assert [bool(row["wrong"]) for row in record["blocks"]] == [True, True, False]
    assert "FAIL: off by 2" in told


def test_a_gpu_without_fp8_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bench_layers.fp8, "refusal", lambda device: f"none on {device}")
    assert main([]) == 1
    assert capsys.readouterr().err == "bench_layers: none on cpu\n"


def on_gpu_too() -> dict[str, Any]:
    """One block, measured; a play of tests/gpu.py."""
    shapes = bench_layers._SHAPES["cpu"]
    made = list(blocks.blocks(shapes, torch.device("cuda")))
    return bench_layers._row(made[-1], measured=True)


def test_it_measures_on_a_gpu(on_gpu):
    row = on_gpu(on_gpu_too)
    assert row["wrong"] == ""
    assert row["ms"] > 0
    assert row["ratio"] == pytest.approx(row["rival_ms"] / row["ms"])
