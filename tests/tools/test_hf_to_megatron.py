"""The command that makes a checkpoint; its conversion is tested in test_random_checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.hf_to_megatron import main


def test_a_folder_that_is_none_is_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--input", str(tmp_path), "--output", str(tmp_path / "out")]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"hf_to_megatron: cannot read {tmp_path / 'config.json'}: No such")
    assert not (tmp_path / "out").exists()


def test_help_says_what_to_do_next(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "model.load=checkpoints/galactica-6.7b" in capsys.readouterr().out
