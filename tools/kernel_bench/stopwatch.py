"""Times, memory and ceilings of one GPU, on inputs that no cache holds.

Owns the protocol: CUDA events, warm-up, sets of inputs in turn, medians, ours before and after its
rivals, so that a GPU that changes its clock meanwhile is seen.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from reft_megatron.ops import fp8

__all__ = ["Times", "ceilings", "compare", "compiled", "extra_mib", "gpu", "sets_of"]

_WARM_UPS, _REPEATS, _AT_ONCE = 3, 30, 8
_SETS, _CACHES = 4, 240 << 20
"""At least so many sets of inputs, and four times the bytes of an L2 cache in all."""
_MOST_SETS = 16
_NOISE = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Milliseconds of a call."""

    ours: float
    """Of what is measured."""
    rivals: tuple[float, ...]
    """Of each of its rivals."""
    noisy: bool
    """True if ours took another time before its rivals than after: then nothing is sure."""


def sets_of(nbytes: int) -> int:
    """How many sets of inputs of that size no cache holds, within reason."""
    return min(max(_SETS, -(-_CACHES // max(nbytes, 1))), _MOST_SETS)


def compiled(call: Callable[..., Any]) -> Callable[..., Any]:
    """The same, as fast as torch makes it; the compilation itself is part of a warm-up."""
    fast: Callable[..., Any] = torch.compile(call, mode="max-autotune-no-cudagraphs")
    return fast


def compare(
    ours: Callable[..., Any],
    rivals: Sequence[Callable[..., Any]],
    sets: Sequence[tuple[Any, ...]],
) -> Times:
    """All on the same sets of inputs, ours before and after the rivals."""
    first, *others, last = (_milliseconds(call, sets) for call in (ours, *rivals, ours))
    return Times(
        ours=min(first, last),
        rivals=tuple(others),
        noisy=abs(first - last) > _NOISE * min(first, last),
    )


def extra_mib(call: Callable[..., Any], inputs: tuple[Any, ...]) -> float:
    """The most memory beside inputs and outputs, in MiB."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    out = call(*inputs)
    torch.cuda.synchronize()
    extra = torch.cuda.max_memory_allocated() - torch.cuda.memory_allocated()
    del out
    return extra / 2**20


def gpu() -> str:
    """Name, driver and clocks, as nvidia-smi says; its error where it fails."""
    asked = "name,driver_version,clocks.sm,clocks.mem,temperature.gpu"
    command = ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"]
    try:
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
    except OSError as error:
        return f"{torch.cuda.get_device_name()}; no nvidia-smi ({error})"
    return (ended.stdout or ended.stderr).strip()


def ceilings(*, gigabytes: int = 8, size: int = 8192) -> dict[str, float]:
    """What this GPU does at best: TB/s of a copy, TFLOP/s of bf16 and of FP8 products."""
    source = torch.empty(gigabytes << 29, dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)
    copy = _milliseconds(target.copy_, [(source,)])
    nbytes = 2 * source.numel()
    del source, target
    a, b = (torch.randn(size, size, device="cuda").bfloat16() for _ in range(2))
    product = _milliseconds(torch.mm, [(a, b)])
    factors = fp8.quantise_rows(a), fp8.quantise_rows(b)
    narrow = _milliseconds(fp8.scaled_matmul, [factors])
    return {
        "copy_tb_s": nbytes / copy / 1e9,
        "bf16_tflop_s": 2 * size**3 / product / 1e9,
        "fp8_tflop_s": 2 * size**3 / narrow / 1e9,
    }


def _milliseconds(call: Callable[..., Any], sets: Sequence[tuple[Any, ...]]) -> float:
    """Median over rounds of a few calls, each with the next set of inputs."""
    turn = 0

    def round_of_calls() -> None:
        nonlocal turn
        for _ in range(_AT_ONCE):
            call(*sets[turn % len(sets)])
            turn += 1

    for _ in range(_WARM_UPS):
        round_of_calls()
    event: Any = torch.cuda.Event  # torch does not type it
    pairs = []
    for _ in range(_REPEATS):
        pair = [event(enable_timing=True) for _ in range(2)]
        pair[0].record()
        round_of_calls()
        pair[1].record()
        pairs.append(pair)
    torch.cuda.synchronize()
    times: list[float] = [start.elapsed_time(end) / _AT_ONCE for start, end in pairs]
    return median(times)
