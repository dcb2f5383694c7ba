"""The machine's GPUs, for the few tests that want one: all others run on CPUs, wherever they are.

A *play* is a module-level function of a test file. It is called in a process of its own, which sees
the GPUs that the tests' process hides from itself, and what it returns comes back.
"""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 300
VISIBLE, HIDDEN = "CUDA_VISIBLE_DEVICES", "REFT_HIDDEN_DEVICES"
"""What CUDA reads, and where that stands while GPUs are hidden; workers of xdist inherit both."""
EVERY = "every"


def hide() -> None:
    """Hide all GPUs from this process, if torch has not looked for one yet."""
    os.environ.setdefault(HIDDEN, os.environ.get(VISIBLE, EVERY))
    os.environ[VISIBLE] = ""


def missing() -> str:
    """Why no play can have a GPU here; empty if it can."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    return "" if perform(torch.cuda.device_count) else "torch finds no GPU here"


def perform(play: Callable[..., Any], *args: Any) -> Any:
    """What `play(*args)` returns where the GPUs can be seen."""
    environment = {name: value for name, value in os.environ.items() if name != VISIBLE}
    if environment[HIDDEN] != EVERY:
        environment[VISIBLE] = environment[HIDDEN]
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu"],
        cwd=ROOT,
        env=environment,
        input=pickle.dumps((play.__module__, play.__qualname__, args)),
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return pickle.loads(done.stdout)


def serve() -> None:
    """The other end: answer one request on standard input."""
    module, name, args = pickle.load(sys.stdin.buffer)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed must not come between
    found = getattr(importlib.import_module(module), name)(*args)
    pickle.dump(found, answers)
    answers.close()


if __name__ == "__main__":
    serve()
