"""Which of Megatron's layers are others where products are FP8.

Owns the provider that Megatron's builders of layer specs ask, which layers it has for an
architecture, ours or Transformer Engine's, and their place in a layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from megatron.core.models.backends import LocalSpecProvider
from megatron.core.models.gpt.gpt_layer_specs import get_mlp_module_spec_for_backend
from megatron.core.transformer.identity_op import IdentityOp
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_layer import TransformerLayerSubmodules

from reft_megatron.policy.families import Architecture
from reft_megatron.policy.fp8.linear import (
    Fp8ColumnParallelLinear,
    Fp8Mlp,
    Fp8NormColumnParallelLinear,
    Fp8RowParallelLinear,
)

__all__ = ["Fp8SpecProvider", "Layers", "into_fp8", "our_layers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Modules that compute in FP8."""

    column: type
    """A linear layer whose output channels are split over ranks."""
    norm_column: type | None
    """The same with the norm before it; None where norms stay apart."""
    row: type
    """A linear layer whose input channels are split over ranks."""
    block: Any = None
    """A feed-forward block; None takes Megatron's."""


class Fp8SpecProvider(LocalSpecProvider):
    """Megatron's local layers, with other linear ones; see its BackendSpecProvider."""

    def __init__(self, layers: Layers) -> None:
        """With `layers` in place of Megatron's."""
        self._layers = layers

    def column_parallel_linear(self) -> type:
        """What stands where no norm goes before."""
        return self._layers.column

    def row_parallel_linear(self) -> type:
        """What stands behind attention, and second in a feed-forward block."""
        return self._layers.row

    def fuse_layernorm_and_linear(self) -> bool:
        """True if norms become part of what stands behind them."""
        return self._layers.norm_column is not None

    def column_parallel_layer_norm_linear(self) -> type | None:
        """What they become part of."""
        return self._layers.norm_column

    def feed_forward(self) -> Any:
        """Spec of the feed-forward block."""
        spec, block = get_mlp_module_spec_for_backend(backend=self), self._layers.block
        if block is None:
            return spec
        if isinstance(spec, ModuleSpec):
            spec.module = block
            return spec
        # Megatron 0.19 hands out a constructor.
        return partial(block.as_mlp_submodule, **spec.keywords)


def our_layers(architecture: Architecture) -> Layers:
    """Ours; only LayerNorm, and only GELU with a bias, have kernels that quantise."""
    fuses = architecture.norm.kind == "layer" and architecture.norm.affine
    gelu = architecture.activation == "gelu" and architecture.bias
    return Layers(
        column=Fp8ColumnParallelLinear,
        norm_column=Fp8NormColumnParallelLinear if fuses else None,
        row=Fp8RowParallelLinear,
        block=Fp8Mlp if fuses and gelu else None,
    )


def into_fp8(
    parts: TransformerLayerSubmodules,
    architecture: Architecture,
    provider: Literal["ours", "te"],
) -> None:
    """Give a layer's spec linear layers with FP8, and take away the norms that they have inside."""
    serving = Fp8SpecProvider(_layers(architecture, provider))
    attention = parts.self_attention.submodules
    attention.linear_qkv = serving.column_parallel_linear()
    attention.linear_proj = serving.row_parallel_linear()
    parts.mlp = serving.feed_forward()
    if serving.fuse_layernorm_and_linear():
        attention.linear_qkv = serving.column_parallel_layer_norm_linear()
        parts.input_layernorm = parts.pre_mlp_layernorm = IdentityOp


def _layers(architecture: Architecture, provider: Literal["ours", "te"]) -> Layers:
    if provider == "ours":
        return our_layers(architecture)
    # It needs Transformer Engine, which few machines have.
    from reft_megatron.policy.fp8 import transformer_engine as te

    return Layers(
        column=te.ColumnParallelLinear,
        # Its norms always have weights.
        norm_column=te.NormColumnParallelLinear if architecture.norm.affine else None,
        row=te.RowParallelLinear,
    )
