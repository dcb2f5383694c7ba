"""Which of Megatron's layers are others where products are FP8.

Owns the provider that Megatron's builders of layer specs ask, ours or Transformer Engine's, and its
place in a layer.
"""

from __future__ import annotations

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

__all__ = ["Fp8SpecProvider", "into_fp8"]


class Fp8SpecProvider(LocalSpecProvider):
    """Megatron's local layers, with our linear ones."""

    def __init__(self, architecture: Architecture) -> None:
        """For the layers of `architecture`: LayerNorms become part of what stands behind them."""
        self._fuses = architecture.norm.kind == "layer" and architecture.norm.affine
        self._gelu = architecture.activation == "gelu" and architecture.bias

    def column_parallel_linear(self) -> type:
        """See Megatron's BackendSpecProvider."""
        return Fp8ColumnParallelLinear

    def row_parallel_linear(self) -> type:
        """See Megatron's BackendSpecProvider."""
        return Fp8RowParallelLinear

    def fuse_layernorm_and_linear(self) -> bool:
        """See Megatron's BackendSpecProvider; RMSNorm has no kernel that quantises."""
        return self._fuses

    def column_parallel_layer_norm_linear(self) -> type | None:
        """See Megatron's BackendSpecProvider."""
        return Fp8NormColumnParallelLinear if self._fuses else None

    def feed_forward(self) -> Any:
        """Spec of the feed-forward block."""
        spec = get_mlp_module_spec_for_backend(backend=self)
        if not (self._fuses and self._gelu):
            return spec
        if isinstance(spec, ModuleSpec):
            spec.module = Fp8Mlp
            return spec
        # Megatron 0.19 hands out a constructor.
        return partial(Fp8Mlp.as_mlp_submodule, **spec.keywords)


def into_fp8(
    parts: TransformerLayerSubmodules,
    architecture: Architecture,
    provider: Literal["ours", "te"],
) -> None:
    """Give a layer's spec linear layers with FP8, and take away the norms that they have inside."""
    serving = _provider(architecture, provider)
    attention = parts.self_attention.submodules
    attention.linear_qkv = serving.column_parallel_linear()
    attention.linear_proj = serving.row_parallel_linear()
    parts.mlp = serving.feed_forward()
    if serving.fuse_layernorm_and_linear():
        attention.linear_qkv = serving.column_parallel_layer_norm_linear()
        parts.input_layernorm = parts.pre_mlp_layernorm = IdentityOp


def _provider(architecture: Architecture, name: Literal["ours", "te"]) -> Any:
    if name == "ours":
        return Fp8SpecProvider(architecture)
    # It needs Transformer Engine, which few machines have.
    from reft_megatron.policy.fp8.transformer_engine import TransformerEngineSpecProvider

    return TransformerEngineSpecProvider(architecture)
