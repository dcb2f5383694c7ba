"""What every test may ask for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import gpu
from tests.ranks import Ranks

# Everything runs on gloo ranks, also where there is a GPU, but for what asks `on_gpu`.
gpu.hide()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data sets, named by REFT_DATA or standing beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("REFT_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no data folder at {folder}: set REFT_DATA to one that holds gsm8k/ and so on")
    return folder


@pytest.fixture(scope="session")
def ranks() -> Iterator[Ranks]:
    """Worlds of real gloo ranks: `ranks(world, play, *args)` (see tests/ranks.py)."""
    worlds = Ranks()
    yield worlds
    worlds.close()


@pytest.fixture(scope="session")
def on_gpu() -> Callable[..., Any]:
    """`on_gpu(play, *args)`: in a process of its own, which sees the GPUs (see tests/gpu.py)."""
    if reason := gpu.missing():
        pytest.skip(reason)
    return gpu.perform
