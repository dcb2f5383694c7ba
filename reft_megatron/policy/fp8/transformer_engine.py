"""Transformer Engine's layers, where they serve FP8 in place of ours.

Owns what our use adds to them. Whether products are FP8 is the policy's to say (`Fp8Weights`),
layer by layer and step by step, so Megatron's own `fp8` setting, which covers a whole block, stays
off. Codes of weights are forgotten when the policy says that weights have changed: Megatron renews
them at its schedules only, and a rollout between an optimizer's step and the next schedule would
read old ones. GELU stays the function of the model, as Transformer Engine's is its tanh form.

Imported only where Transformer Engine is: Megatron's classes are hollow without it.
"""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.extensions.transformer_engine import (
    TEColumnParallelLinear,
    TELayerNormColumnParallelLinear,
    TERowParallelLinear,
)
from torch import Tensor
from transformer_engine.common.recipe import (
    Float8BlockScaling,
    Float8CurrentScaling,
    Format,
    MXFP8BlockScaling,
)
from transformer_engine.pytorch import fp8_autocast
from transformer_engine.pytorch.fp8 import FP8GlobalStateManager

from reft_megatron.policy.fp8.padding import pad, unpad

__all__ = [
    "ColumnParallelLinear",
    "NormColumnParallelLinear",
    "RowParallelLinear",
    "unavailable",
]

_RECIPES = {
    "tensorwise": Float8CurrentScaling(fp8_format=Format.HYBRID),
    "blockwise": Float8BlockScaling(),
    "mxfp8": MXFP8BlockScaling(),
}
_MULTIPLES = {"tensorwise": 16, "blockwise": 16, "mxfp8": 32}
"""Of tokens, as Megatron's `get_fp8_align_size`."""
_AVAILABLE = {
    "tensorwise": FP8GlobalStateManager.is_fp8_available,
    "blockwise": FP8GlobalStateManager.is_fp8_block_scaling_available,
    "mxfp8": FP8GlobalStateManager.is_mxfp8_available,
}
_NOTHING = (-1, False)


def unavailable(recipe: str) -> str:
    """Why the current GPU cannot scale like that, as Transformer Engine says; empty if it can."""
    available, why = _AVAILABLE[recipe]()
    return "" if available else str(why).strip().rstrip(".")


class _Layer(torch.nn.Module):
    """In front of a layer of Megatron's Transformer Engine extension."""

    config: Any
    parallel_mode: str
    sequence_parallel: bool
    tp_size: int
    _fp8_workspaces: dict[str, Any]
    _made = _NOTHING
    """Version of the weights that codes are of, and whether the backward pass has its own."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """See Megatron's layer; tokens [S, B, K] may be any number."""
        weights, recipe = self.config.fp8_weights, self.config.te_recipe
        if not weights.active:
            self._forget(_NOTHING)
            with fp8_autocast(enabled=False):
                plain: tuple[Tensor, Tensor | None] = super().forward(x)
            return plain
        self._forget_old(weights.version)
        faults = weights.faults(x.device)
        _count(faults, x.detach())
        parts, parts_out = self._parts()
        with fp8_autocast(enabled=True, fp8_recipe=_RECIPES[recipe]):
            out, bias = super().forward(pad(x, parts=parts, multiple=_MULTIPLES[recipe]))
        out = unpad(out, parts=parts_out, length=len(x) // parts)
        if out.requires_grad:
            out.register_hook(lambda dy: _count(faults, dy))
        return out, bias

    def get_extra_state(self) -> None:
        """Nothing, as Megatron's own layers: these recipes have no state."""

    def _parts(self) -> tuple[int, int]:
        """Runs of tokens that go in and that come out, one for each rank that has its own."""
        ranks = self.tp_size if self.sequence_parallel else 1
        return (1, ranks) if self.parallel_mode == "column" else (ranks, 1)

    def _forget_old(self, version: int) -> None:
        """Drop codes of other weights, and those without the transposed ones that are wanted."""
        grad = torch.is_grad_enabled()
        made, has_grad = self._made
        if made != version or (grad and not has_grad):
            self._forget((version, grad))
        self.is_first_microbatch = False  # keeps the codes that are there, and makes them if not

    def _forget(self, now: tuple[int, bool]) -> None:
        self._fp8_workspaces.clear()
        self._made = now


class ColumnParallelLinear(_Layer, TEColumnParallelLinear):
    """A layer whose output channels are split over ranks."""


class NormColumnParallelLinear(_Layer, TELayerNormColumnParallelLinear):
    """The same behind a norm."""


class RowParallelLinear(_Layer, TERowParallelLinear):
    """A layer whose input channels are split over ranks."""


def _count(faults: Tensor, x: Tensor) -> None:
    """Add 1 to `faults` int32 [1] if any of x is not finite: codes of infinities are numbers."""
    faults.add_(~x.sum(dtype=torch.float32).isfinite())
