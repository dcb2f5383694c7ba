"""The FP8 codes of a policy's weights, one version of them at a time.

Owns when weights are quantised: once for each version, when a product first wants them. Trainer and
sampler share the codes. Optimizers write past torch's counters, straight into the memory of the
weights, so whoever moves or loads weights must say so (`changed`); that drops every code there is,
and nothing is left that could be stale. Writes that torch does see, and weights that were moved
elsewhere, are noticed besides.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from reft_megatron.ops.fp8 import Codes, quantise_columns, quantise_rows

__all__ = ["Fp8Weights"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """Codes, and what was seen of the weight when they were made."""

    seen: tuple[int, int, int]
    codes: Codes


class Fp8Weights:
    """Codes of the weights of one policy, and whether it computes with them now."""

    def __init__(self, *, always: bool) -> None:
        """`always`: also outside of `sampling`."""
        self.version = 0
        """Counts the changes of the weights."""
        self._always = always
        self._sampling = False
        self._held: dict[tuple[int, bool], _Held] = {}
        self._faults: Tensor | None = None

    @property
    def active(self) -> bool:
        """True while products are to be FP8."""
        return self._always or self._sampling

    @contextlib.contextmanager
    def sampling(self) -> Iterator[None]:
        """Inside the block products are FP8, and no memory goes to what training alone needs."""
        self._sampling = True
        self._drop(transposed=True)
        try:
            yield
        finally:
            self._sampling = False
            if not self._always:
                self._drop(transposed=False)

    def faults(self, device: torch.device) -> Tensor:
        """int32 [1]: grows by the rows that were quantised and were not finite.

        Such a row loses its infinities, so whoever goes by what comes out must look here too.
        """
        if self._faults is None:
            self._faults = torch.zeros(1, dtype=torch.int32, device=device)
        return self._faults

    def changed(self) -> None:
        """Forget all codes: weights have been moved by an optimizer, loaded, or put away."""
        self.version += 1
        self._held.clear()

    def rows(self, weight: Tensor) -> Codes:
        """Codes [N, K] of a weight [N, K], a scale for each output channel: for y = x W^T."""
        return self._codes(weight, transposed=False)

    def columns(self, weight: Tensor) -> Codes:
        """Codes [K, N] of its transpose, a scale for each input channel: for dx = dy W."""
        return self._codes(weight, transposed=True)

    def _codes(self, weight: Tensor, *, transposed: bool) -> Codes:
        key = id(weight), transposed
        seen = self.version, weight.data_ptr(), weight._version
        held = self._held.get(key)
        if held is None or held.seen != seen:
            quantise = quantise_columns if transposed else quantise_rows
            held = self._held[key] = _Held(seen=seen, codes=quantise(weight.detach()))
        return held.codes

    def _drop(self, *, transposed: bool) -> None:
        for key in [key for key in self._held if key[1] == transposed]:
            del self._held[key]
