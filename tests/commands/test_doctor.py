"""The command that says what serves each operator."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reft_megatron.cli import main
from reft_megatron.commands import doctor
from reft_megatron.ops import kernels
from reft_megatron.packages import Package


def words(capsys: pytest.CaptureFixture[str]) -> str:
    """What it prints, without the tables' lines and breaks."""
    assert main(["doctor"]) == 0
    return " ".join("".join(c for c in capsys.readouterr().out if c.isascii()).split())


def test_it_tells_who_serves_what(capsys: pytest.CaptureFixture[str]) -> None:
    told = words(capsys)
    assert ("GPU none that torch can use" in told) == (torch.cuda.device_count() == 0)
    assert "_kernels_host.so has code for host" in told
    for row in kernels.served():
        assert row.operator in told


def test_it_tells_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(kernels, "CUDA", tmp_path / "k.so")
    assert "k.so is not built: `pip install -e .` builds it" in words(capsys)


def test_a_cpu_without_the_twin_is_an_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(kernels, "HOST", tmp_path / "k.so")
    monkeypatch.setattr(kernels, "host", kernels.host.__wrapped__)  # nothing is kept of this
    assert main(["doctor"]) == 1
    told = capsys.readouterr()
    assert "k.so is not built: `pip install -e .` builds" in told.out, "the machine is told first"
    assert told.err.startswith("reft-megatron: ConfigError: k.so is not built: ")


def test_it_tells_of_packages_that_megatron_takes_up(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Package(usable=False, told="half of it", remedy="Install all of it.")
    monkeypatch.setattr(doctor, "transformer_engine", lambda: broken)
    monkeypatch.setattr(doctor, "apex", lambda: Package(usable=False, told="not installed"))
    told = words(capsys)
    assert "Transformer Engine half of it. Install all of it." in told
    assert "apex not installed" in told


def test_it_has_no_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--fast"])
    assert ended.value.code == 2
    assert "unrecognized arguments: --fast" in capsys.readouterr().err
