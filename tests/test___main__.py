"""`python -m reft_megatron`, and the same under torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reft_megatron import __version__
from reft_megatron.tasks.arithmetic import documents
from reft_megatron.tokenizer_training import train_tokenizer

ROOT = Path(__file__).parents[1]


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
        capture_output=True,
        timeout=300,
        check=False,
    )


def test_it_is_the_command_line() -> None:
    ended = python("-m", "reft_megatron", "--version")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{__version__}\n", "")


def test_its_exit_code_is_the_command_lines() -> None:
    ended = python("-m", "reft_megatron", "ppo", "no.such=1")
    assert ended.returncode == 1
    assert ended.stderr.startswith("reft-megatron: ConfigError: unknown setting no; ")


@pytest.mark.megatron
@pytest.mark.slow
def test_torchrun_starts_it(tmp_path: Path) -> None:
    tokenizer = tmp_path / "x.model"
    train_tokenizer((q for q, _ in documents(count=100, seed=0)), tokenizer, vocab_size=400)
    ended = python(
        "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "reft_megatron", "pretrain",
        f"run.dir={tmp_path}", f"tokenizer.path={tokenizer}", "parallel.tensor=2",
        "pretrain.steps=2", "pretrain.batch_size=4", "task.train_size=1", "task.test_size=1",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary == {"steps": 2, "skipped_steps": 0}
