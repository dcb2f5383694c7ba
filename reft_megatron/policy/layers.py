"""The layers our models are made of, as Megatron layer specs.

Owns which class serves each part of a transformer block: Megatron's own tensor-parallel linear
layers, our attention, and norms that work under sequence parallelism without apex or Transformer
Engine; and the config that Megatron hands to each of them. Other providers (FP8) plug in here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from megatron.core.transformer.transformer_block import (
    TransformerBlockSubmodules,
    get_num_layers_to_build,
)
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor

from reft_megatron.policy.attention import CoreAttention
from reft_megatron.policy.families import Architecture

__all__ = ["LayerNorm", "PolicyTransformerConfig", "RMSNorm", "block_spec"]


@dataclass
class PolicyTransformerConfig(TransformerConfig):
    """Megatron's config and what it cannot say."""

    architecture: Architecture = field(kw_only=True)
    """Where our own layers look."""
    split: tuple[int, ...] = field(kw_only=True)
    """Layers of each model chunk of the pipeline, in the order of the layers."""


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


def block_spec(
    config: TransformerConfig, architecture: Architecture, chunk: int | None
) -> TransformerBlockSubmodules:
    """Spec of the layers that this rank's model chunk `chunk` builds."""
    norm = RMSNorm if architecture.norm.kind == "rms" else LayerNorm
    layer = get_gpt_layer_local_spec(qk_layernorm=architecture.attention.qk_norm)
    layer.submodules.input_layernorm = norm
    layer.submodules.pre_mlp_layernorm = norm
    attention = layer.submodules.self_attention.submodules
    attention.core_attention = CoreAttention
    if architecture.attention.qk_norm:
        attention.q_layernorm = attention.k_layernorm = RMSNorm
    layers = get_num_layers_to_build(config, vp_stage=chunk)
    return TransformerBlockSubmodules(layer_specs=[layer] * layers, layer_norm=norm)
