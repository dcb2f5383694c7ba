"""The layers our models are made of, as Megatron layer specs.

Owns which class serves each part of a transformer block: Megatron's own tensor-parallel linear
layers, our attention, and a LayerNorm that works under sequence parallelism without apex or
Transformer Engine. Other providers (FP8) plug in here.
"""

from __future__ import annotations

import torch
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from megatron.core.transformer.transformer_block import (
    TransformerBlockSubmodules,
    get_num_layers_to_build,
)
from megatron.core.transformer.transformer_config import TransformerConfig

from reft_megatron.policy.attention import CoreAttention

__all__ = ["LayerNorm", "block_spec"]


class LayerNorm(torch.nn.LayerNorm):
    """Torch's LayerNorm whose gradients Megatron sums over sequence-parallel ranks.

    Megatron's own stand-in refuses sequence parallelism; all it takes is the mark on the parameters
    that `finalize_model_grads` looks for.
    """

    def __init__(
        self, config: TransformerConfig, hidden_size: int, eps: float = 1e-5, **_: object
    ) -> None:
        """Normalises the last dimension, of `hidden_size`; learned scale and shift by config."""
        super().__init__(
            hidden_size, eps=eps, elementwise_affine=getattr(config, "layer_norm_affine", True)
        )
        for parameter in self.parameters():
            parameter.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]  # Megatron's mark


def block_spec(config: TransformerConfig, chunk: int | None) -> TransformerBlockSubmodules:
    """Spec of the layers that this rank's model chunk `chunk` builds."""
    layer = get_gpt_layer_local_spec()
    layer.submodules.input_layernorm = LayerNorm
    layer.submodules.pre_mlp_layernorm = LayerNorm
    layer.submodules.self_attention.submodules.core_attention = CoreAttention
    layers = get_num_layers_to_build(config, vp_stage=chunk)
    return TransformerBlockSubmodules(layer_specs=[layer] * layers, layer_norm=LayerNorm)
