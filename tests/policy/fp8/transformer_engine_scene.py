"""What our use of Transformer Engine leans on, kept by Megatron's own layers in plain torch.

Transformer Engine computes on GPUs only. What it asks of who calls it, and what it keeps between
calls, is the same in these layers: tokens in multiples, an FP8 context or none, codes of weights
that stay until they are dropped, transposed codes only where a backward pass was to follow, state
in checkpoints. Its numbers are those of a scale for each tensor.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from megatron.core.extensions import transformer_engine as megatron_layers
from megatron.core.tensor_parallel import ColumnParallelLinear, RowParallelLinear
from torch import Tensor
from torch.nn import functional

OURS = "reft_megatron.policy.fp8.transformer_engine"


class Fp8:
    """The context that layers stand in."""

    recipe: ClassVar[Any] = None

    @classmethod
    @contextlib.contextmanager
    def autocast(cls, *, enabled: bool, fp8_recipe: Any = None) -> Iterator[None]:
        before, cls.recipe = cls.recipe, fp8_recipe if enabled else None
        yield
        cls.recipe = before


class _Layer:
    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self._fp8_workspaces: dict[str, tuple[Tensor, bool]] = {}
        self.is_first_microbatch = True
        self.tp_size = self.config.tensor_model_parallel_size

    def _forward_impl(self, *args: Any, **call: Any) -> Tensor:
        if Fp8.recipe is not None:
            tokens = call["input"].shape[:-1].numel()
            assert tokens % Fp8.recipe.multiple == 0, f"{tokens} tokens"
            call["weight"] = _instead(call["weight"], self._codes(call["weight"]))
            call["input"] = _instead(call["input"], _codes(call["input"]))
        return super()._forward_impl(*args, **call)

    def _codes(self, weight: Tensor) -> Tensor:
        grad = torch.is_grad_enabled()
        if self.is_first_microbatch or "weight" not in self._fp8_workspaces:
            self._fp8_workspaces["weight"] = _codes(weight), grad
        codes, transposed = self._fp8_workspaces["weight"]
        assert transposed or not grad, "no codes for the backward pass"
        self.is_first_microbatch = False
        return codes

    def get_extra_state(self) -> Tensor:
        raise AssertionError("states of recipes have no place in a checkpoint")


class Column(_Layer, ColumnParallelLinear):
    parallel_mode = "column"


class NormColumn(Column):
    def __init__(self, size: int, *args: Any, **how: Any) -> None:
        super().__init__(size, *args, **how)
        self.layer_norm_weight = torch.nn.Parameter(torch.ones(size))
        self.layer_norm_bias = torch.nn.Parameter(torch.zeros(size))
        for parameter in (self.layer_norm_weight, self.layer_norm_bias):
            parameter.sequence_parallel = self.config.sequence_parallel

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        norm = self.layer_norm_weight, self.layer_norm_bias
        x = functional.layer_norm(x, norm[0].shape, *norm, self.config.layernorm_epsilon)
        return super().forward(x)


class Row(_Layer, RowParallelLinear):
    parallel_mode = "row"


def install(patch: pytest.MonkeyPatch) -> None:
    """Let our layers be made of these, until the patch is undone."""
    layers = {
        "TEColumnParallelLinear": Column,
        "TELayerNormColumnParallelLinear": NormColumn,
        "TERowParallelLinear": Row,
    }
    for name, layer in layers.items():
        patch.setattr(megatron_layers, name, layer)
    able = (True, "")
    manager = SimpleNamespace(
        is_fp8_available=lambda: able,
        is_fp8_block_scaling_available=lambda: able,
        is_mxfp8_available=lambda: (False, "Device compute capability 10.0 or higher required."),
    )
    recipe = SimpleNamespace(
        Float8CurrentScaling=lambda fp8_format: SimpleNamespace(multiple=16, format=fp8_format),
        Float8BlockScaling=lambda: SimpleNamespace(multiple=16),
        MXFP8BlockScaling=lambda: SimpleNamespace(multiple=32),
        Format=SimpleNamespace(HYBRID="hybrid"),
    )
    for name, content in (
        ("transformer_engine", {}),
        ("transformer_engine.common", {}),
        ("transformer_engine.common.recipe", vars(recipe)),
        ("transformer_engine.pytorch", {"fp8_autocast": Fp8.autocast}),
        ("transformer_engine.pytorch.fp8", {"FP8GlobalStateManager": manager}),
    ):
        module = ModuleType(name)
        vars(module).update(content)
        patch.setitem(sys.modules, name, module)
    patch.delitem(sys.modules, OURS, raising=False)


def uninstall() -> None:
    """Forget our module, which has been made of these."""
    sys.modules.pop(OURS, None)


def _codes(x: Tensor) -> Tensor:
    """The numbers that codes stand for, with one scale."""
    wide = x.detach().float()
    scale = wide.abs().amax().clamp(min=1e-12) / 448
    return ((wide / scale).to(torch.float8_e4m3fn).float() * scale).to(x.dtype)


def _instead(x: Tensor, codes: Tensor) -> Tensor:
    """The codes, with the gradient of x."""
    return x + (codes - x).detach()
