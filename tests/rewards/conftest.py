"""Judges with short limits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reft_megatron.config import RewardConfig
from reft_megatron.rewards import Judge

SHORT = RewardConfig(workers=2, timeout_s=1.5, memory_mb=256, max_output_kb=4)


@pytest.fixture(scope="module")
def short() -> RewardConfig:
    return SHORT


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge(form="program", kind="number", config=SHORT, parity="correct") as judge:
        yield judge
