"""What memory alone would allow: bytes decoding moves, at the speed of a copy.

A decode step reads all weights once for as many sequences as there are slots, and each sequence's
own keys and values. Reading prompts is left out, as it is bound by arithmetic.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch

from reft_megatron.policy.families import Architecture

__all__ = ["bytes_moved", "copy_bandwidth"]

_BUFFER = 1 << 30
_COPIES = 20


def bytes_moved(
    architecture: Architecture,
    sequences: Iterable[tuple[int, int]],
    *,
    slots: int,
    weights: int,
    itemsize: int,
) -> float:
    """Bytes that decoding `sequences` moves at least, `slots` always full.

    A sequence is (prompt tokens, response tokens); `weights` are bytes that each step reads,
    `itemsize` is that of the cache. The first token of a response comes with its prompt.
    """
    attention = architecture.attention
    entry = 2 * architecture.layers * attention.groups * attention.size * itemsize
    steps = cached = 0
    for prompt, response in sequences:
        steps += response - 1
        # Step t = 1, 2, ... reads the entries of the prompt and t of the response.
        cached += (response - 1) * prompt + response * (response - 1) // 2
    return steps / slots * weights + cached * entry


def copy_bandwidth(device: torch.device) -> float:
    """Bytes a second, read and written, of copying 1 GiB on `device`; the best of many."""
    source = torch.empty(_BUFFER, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(_COPIES):
        torch.cuda.synchronize()
        began = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * _BUFFER / best
