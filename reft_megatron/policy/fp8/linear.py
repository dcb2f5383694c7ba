"""Megatron's tensor-parallel layers with FP8 products.

Owns the modules: Megatron's own column- and row-parallel linear layers and its feed-forward block,
which compute otherwise where the policy's `Fp8Weights` are active, and are the very same elsewhere.
Parameters, their marks and their names in a checkpoint are Megatron's, so that any precision reads
the weights of any other.
"""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.tensor_parallel import (
    ColumnParallelLinear,
    RowParallelLinear,
    reduce_from_tensor_model_parallel_region,
    reduce_scatter_to_sequence_parallel_region,
)
from megatron.core.transformer.mlp import MLP
from torch import Tensor
from torch.nn import functional

from reft_megatron.policy.fp8.products import Norm, Spread, feed_forward, linear

__all__ = [
    "Fp8ColumnParallelLinear",
    "Fp8Mlp",
    "Fp8NormColumnParallelLinear",
    "Fp8RowParallelLinear",
]


class Fp8ColumnParallelLinear(ColumnParallelLinear):
    """A layer whose output channels are split over ranks."""

    @property
    def norm(self) -> Norm | None:
        """Of what goes in."""
        return None

    @property
    def spread(self) -> Spread:
        """How its tokens and their gradients travel."""
        return Spread(
            group=self.tp_group, gathers=self.sequence_parallel, sums=self.allreduce_dgrad
        )

    def _forward_impl(self, *args: Any, **call: Any) -> Tensor:
        weights = self.config.fp8_weights
        if not weights.active:
            out: Tensor = super()._forward_impl(*args, **call)
            return out
        return linear(
            call["input"],
            call["weight"],
            call["bias"],
            weights=weights,
            spread=self.spread,
            norm=self.norm,
        )


class Fp8NormColumnParallelLinear(Fp8ColumnParallelLinear):
    """The same behind a LayerNorm, which gives codes at once."""

    def __init__(self, input_size: int, output_size: int, *, config: Any, **how: Any) -> None:
        """See Megatron's ColumnParallelLinear; the norm is over `input_size`."""
        super().__init__(input_size, output_size, config=config, **how)
        # The names that Megatron's checkpoints have for a norm before such a layer.
        self.layer_norm_weight = torch.nn.Parameter(torch.ones(input_size))
        self.layer_norm_bias = torch.nn.Parameter(torch.zeros(input_size))
        for parameter in (self.layer_norm_weight, self.layer_norm_bias):
            parameter.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]  # Megatron's mark

    @property
    def norm(self) -> Norm:
        """The LayerNorm."""
        return Norm(
            weight=self.layer_norm_weight,
            bias=self.layer_norm_bias,
            eps=self.config.layernorm_epsilon,
        )

    def forward(self, input_: Tensor, **call: Any) -> tuple[Tensor, Tensor | None]:
        """See Megatron's ColumnParallelLinear."""
        if not self.config.fp8_weights.active:
            norm = self.norm
            shape = norm.weight.shape
            input_ = functional.layer_norm(input_, shape, norm.weight, norm.bias, norm.eps)
        out: tuple[Tensor, Tensor | None] = super().forward(input_, **call)
        return out


class Fp8RowParallelLinear(RowParallelLinear):
    """A layer whose input channels are split over ranks."""

    def _forward_impl(self, *args: Any, **call: Any) -> Tensor:
        weights = self.config.fp8_weights
        if not weights.active:
            out: Tensor = super()._forward_impl(*args, **call)
            return out
        # What its ranks have is summed behind it, and its input's gradient is whole.
        return linear(call["input"], call["weight"], weights=weights, spread=Spread())


class Fp8Mlp(MLP):
    """A feed-forward block with LayerNorm, GELU and biases, in which GELU gives codes at once."""

    def forward(self, hidden_states: Tensor, *args: Any, **call: Any) -> tuple[Tensor, Tensor]:
        """[S, B, K] -> [S, B, K], and the bias that is to be added."""
        weights = self.config.fp8_weights
        if not weights.active:
            found: tuple[Tensor, Tensor] = super().forward(hidden_states, *args, **call)
            return found
        fc1, fc2 = self.linear_fc1, self.linear_fc2
        out = feed_forward(
            hidden_states,
            (fc1.weight, fc1.bias),
            fc2.weight,
            weights=weights,
            spread=fc1.spread,
            norm=fc1.norm,
        )
        if fc2.sequence_parallel:
            out = reduce_scatter_to_sequence_parallel_region(out, group=fc2.tp_group)
        else:
            out = reduce_from_tensor_model_parallel_region(out, group=fc2.tp_group)
        return out, fc2.bias
