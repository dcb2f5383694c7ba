"""The stopwatch of the kernels' benchmark; times themselves need a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tools.kernel_bench import stopwatch


def test_inputs_are_more_than_a_cache_holds():
    assert stopwatch.sets_of(1 << 30) == 4
    assert stopwatch.sets_of(30 << 20) == 8
    assert stopwatch.sets_of(1) == 16


def race() -> tuple[stopwatch.Times, dict[str, float]]:
    """A short copy against a long one; a play of tests/gpu.py."""
    sets = [(torch.randn(1 << 22, device="cuda"),) for _ in range(4)]
    rivals = [lambda x: (x + 1).sin().cos(), stopwatch.compiled(lambda x: (x + 1).sin().cos())]
    times = stopwatch.compare(lambda x: x + 1, rivals, sets)
    return times, stopwatch.ceilings(gigabytes=1, size=1024)


def test_it_measures_on_a_gpu(on_gpu: Callable[..., Any]):
    times, ceilings = on_gpu(race)
    assert min(times.ours, *times.rivals) > 0
    assert all(figure > 0 for figure in ceilings.values())
