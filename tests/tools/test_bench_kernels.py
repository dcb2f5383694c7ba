"""The benchmark of the kernels where there is no GPU: the twin is checked, nothing is timed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from reft_megatron.ops import fp8_kernels, kernels
from tools.bench_kernels import main


def bench(capsys: pytest.CaptureFixture[str]) -> tuple[int, str, dict[str, Any]]:
    status = main(["--tokens", "40"])
    told = capsys.readouterr().out
    return status, told, json.loads(told.splitlines()[-1])


def test_without_a_gpu_it_checks_the_twin_and_says_that_speed_is_unmeasured(
    capsys: pytest.CaptureFixture[str],
):
    status, told, record = bench(capsys)
    assert status == 0
    assert "speed is unmeasured: there is no GPU here; the host twin was checked." in told
    assert record["library"]["name"] == "_kernels_host.so"
    names = {row["name"] for row in record["operators"]}
    assert names == {row.operator for row in kernels.served()} - {"append", "decode_attention"}
    for row in record["operators"]:
        assert row.keys() == {"name", "wrong", "bytes"}, "nothing of time"
        assert not row["wrong"]


def test_a_kernel_that_is_wrong_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    right = fp8_kernels.quantise_rows

    def wrong(*given: Any, **how: Any) -> Any:
        codes, scale = right(*given, **how)
        codes.view(torch.uint8)[3, 5] ^= 4
        return codes, scale

    monkeypatch.setattr(fp8_kernels, "quantise_rows", wrong)
    status, told, record = bench(capsys)
    assert status == 1
    assert "FAIL: output 0: 0.01% of the codes differ, by up to 4" in told
    assert [row["name"] for row in record["operators"] if row["wrong"]] == ["quantise_rows"]


def test_without_the_twin_it_says_how_to_build_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(kernels, "host", lambda: kernels.Library(tmp_path / "k.so"))
    assert main([]) == 1
    assert capsys.readouterr().err.startswith("bench_kernels: k.so is not built: ")


def test_shapes_are_checked(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--tokens", "0"])
    assert "0 is not 1 or more" in capsys.readouterr().err
