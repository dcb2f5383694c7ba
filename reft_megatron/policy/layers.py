"""The layers our models are made of, as Megatron layer specs.

Owns which class serves each part of a transformer block: Megatron's own tensor-parallel linear
layers, our attention, and norms that work under sequence parallelism without apex or Transformer
Engine; and the config that Megatron hands to each of them. Layers in FP8 are `policy.fp8`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import (
    TransformerBlockSubmodules,
    get_num_layers_to_build,
)
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.transformer.transformer_layer import get_transformer_layer_offset
from torch import Tensor

from reft_megatron.config import Fp8Config, ModelConfig
from reft_megatron.policy.attention import CoreAttention
from reft_megatron.policy.families import Architecture
from reft_megatron.policy.fp8.provider import into_fp8
from reft_megatron.policy.fp8.weights import Fp8Weights

__all__ = ["LayerNorm", "PolicyTransformerConfig", "RMSNorm", "block_spec", "fp8_settings"]


@dataclass
class PolicyTransformerConfig(TransformerConfig):
    """Megatron's config and what it cannot say."""

    architecture: Architecture = field(kw_only=True)
    """Where our own layers look."""
    split: tuple[int, ...] = field(kw_only=True)
    """Layers of each model chunk of the pipeline, in the order of the layers."""
    fp8_weights: Fp8Weights | None = field(kw_only=True, default=None)
    """Codes of the policy's weights; None where no product is ever FP8."""
    fp8_layers: range = field(kw_only=True, default=range(0))
    """Layers that are FP8, counted from 0 in the whole model."""
    fp8_cache: bool = field(kw_only=True, default=False)
    """Keys and values of sampling are kept in FP8."""
    fp8_provider: Literal["ours", "te"] = field(kw_only=True, default="ours")
    """Whose those layers are."""
    te_recipe: str = field(kw_only=True, default="tensorwise")
    """How Transformer Engine scales, if they are its own."""


class LayerNorm(torch.nn.LayerNorm):
    """Torch's LayerNorm whose gradients Megatron sums over sequence-parallel ranks.

    Megatron's own stand-in refuses sequence parallelism; all it takes is the mark on the parameters
    that `finalize_model_grads` looks for.
    """

    def __init__(
        self, config: PolicyTransformerConfig, hidden_size: int, eps: float = 1e-5, **_: object
    ) -> None:
        """Normalises the last dimension, of `hidden_size`; learned scale and shift by config."""
        affine = config.architecture.norm.affine
        super().__init__(hidden_size, eps=eps, elementwise_affine=affine)
        for parameter in self.parameters():
            parameter.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]  # Megatron's mark


class RMSNorm(torch.nn.Module):
    """x / rms(x) * weight, in fp32 up to the product with the weight, as transformers' Llama."""

    def __init__(
        self, config: TransformerConfig, hidden_size: int, eps: float = 1e-6, **_: object
    ) -> None:
        """Normalises the last dimension, of `hidden_size`."""
        super().__init__()
        self.eps = eps
        self.weight = torch.nn.Parameter(torch.ones(hidden_size))
        self.weight.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]  # Megatron's mark

    def forward(self, x: Tensor) -> Tensor:
        """Shape and dtype of `x` [..., hidden_size] stay."""
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


def fp8_settings(architecture: Architecture, model: ModelConfig, fp8: Fp8Config) -> dict[str, Any]:
    """Fields of the config for the asked precision; a policy of its own with each call."""
    if not model.samples_in_fp8:
        return {}
    return {
        "fp8_weights": Fp8Weights(always=model.precision == "fp8"),
        "fp8_layers": range(fp8.first_layers_bf16, architecture.layers - fp8.last_layers_bf16),
        "fp8_cache": fp8.cache,
        "fp8_provider": fp8.provider,
        "te_recipe": fp8.te_recipe,
    }


def block_spec(
    config: PolicyTransformerConfig, architecture: Architecture, chunk: int | None
) -> TransformerBlockSubmodules:
    """Spec of the layers that this rank's model chunk `chunk` builds."""
    first = get_transformer_layer_offset(config, vp_stage=chunk)
    layers = get_num_layers_to_build(config, vp_stage=chunk)
    plain = _layer_spec(architecture)
    fp8 = _layer_spec(architecture, fp8=config.fp8_provider) if config.fp8_layers else plain
    return TransformerBlockSubmodules(
        layer_specs=[fp8 if first + i in config.fp8_layers else plain for i in range(layers)],
        layer_norm=_norm(architecture),
    )


def _layer_spec(
    architecture: Architecture, *, fp8: Literal["ours", "te"] | None = None
) -> ModuleSpec:
    layer = get_gpt_layer_local_spec(qk_layernorm=architecture.attention.qk_norm)
    parts = layer.submodules
    parts.input_layernorm = parts.pre_mlp_layernorm = _norm(architecture)
    attention = parts.self_attention.submodules
    attention.core_attention = CoreAttention
    if architecture.attention.qk_norm:
        attention.q_layernorm = attention.k_layernorm = RMSNorm
    if fp8:
        into_fp8(parts, architecture, fp8)
    return layer


def _norm(architecture: Architecture) -> type:
    return RMSNorm if architecture.norm.kind == "rms" else LayerNorm
