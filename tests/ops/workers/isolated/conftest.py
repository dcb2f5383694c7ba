"""Runs a few lines in a fresh process, started as workers are: bare, by path."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import reft_megatron.ops.workers.process as parent

OPS = Path(parent.__file__).parents[1]
HEAD = f"{parent.BOOT}\nimport json, os\n"


@pytest.fixture(scope="session")
def bare() -> Callable[[str], list[str]]:
    """The command line that executes some code as in a worker."""
    return lambda code: [sys.executable, "-I", "-S", "-c", HEAD + code, str(OPS)]


@pytest.fixture
def in_fresh_process(tmp_path: Path, bare: Callable[[str], list[str]]) -> Callable[[str], Any]:
    """Executes code that prints one JSON value; returns the value."""

    def execute(code: str) -> Any:
        done = subprocess.run(
            bare(code), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return execute
