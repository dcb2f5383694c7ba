"""Runs a few lines in a fresh process, started as workers are: bare, by path."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import reft_megatron.rewards.worker_process as parent

REWARDS = Path(parent.__file__).parent
HEAD = f"import json, os, sys; sys.path.insert(0, {str(REWARDS)!r})\n"


@pytest.fixture
def in_fresh_process(tmp_path: Path) -> Callable[[str], Any]:
    """Executes code that prints one JSON value; returns the value."""

    def execute(code: str) -> Any:
        command = [sys.executable, "-I", "-S", "-c", HEAD + code]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return execute
