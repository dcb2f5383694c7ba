"""The command that makes a Hugging Face folder; see test_random_checkpoint for its work."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.megatron_to_hf import main


def test_a_folder_that_is_none_is_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--input", str(tmp_path), "--output", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith(f"megatron_to_hf: {tmp_path} is not a complete ")
    assert not (tmp_path / "out").exists()


def test_an_unknown_dtype_is_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--input", "x", "--output", "y", "--dtype", "int8"])
    assert "choose from auto, stored, fp32, bf16, fp16" in capsys.readouterr().err.replace("'", "")
