"""The model once more in plain torch: one sequence, no cache, no parallelism, no Megatron.

Written from the description of OPT (learned positions, LayerNorm before each block and at the end,
tied embeddings) with Galactica's erf GELU, on the whole weights that `scene.assemble` gathers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

LAYERS, HEADS, HIDDEN = 4, 4, 96


class Plain:
    """The scene's model, from whole tensors by name; its tensors take gradients."""

    def __init__(self, weights: dict[str, np.ndarray[Any, Any]]) -> None:
        self.weights = {
            name: torch.from_numpy(array.copy()).requires_grad_() for name, array in weights.items()
        }

    def hidden(self, tokens: Tensor) -> Tensor:
        """Final hidden states [L, H] of token ids [L]."""
        w = self.weights
        x = w["embedding.word_embeddings.weight"][tokens]
        x = x + w["embedding.position_embeddings.weight"][2 : 2 + len(tokens)]  # OPT's offset
        for layer in range(LAYERS):
            before = self._norm(x, f"layers.self_attention.linear_qkv.layer_norm_/{layer}")
            x = x + self._attention(layer, before)
            before = self._norm(x, f"layers.mlp.linear_fc1.layer_norm_/{layer}")
            x = x + self._feed_forward(layer, before)
        return self._norm(x, "final_layernorm.")

    def logits(self, tokens: Tensor) -> Tensor:
        """[L, K] after each position."""
        return self.hidden(tokens) @ self.weights["embedding.word_embeddings.weight"].t()

    def scores(self, tokens: Tensor) -> dict[str, Tensor]:
        """Log-probs, values and entropies about each token, [L]; 0 for the first token."""
        hidden = self.hidden(tokens)
        logprobs = (hidden @ self.weights["embedding.word_embeddings.weight"].t()).log_softmax(-1)
        values = hidden @ self.weights["value_head.weight"][0] + self.weights["value_head.bias"]
        per_position = {
            "logprobs": logprobs[:-1].gather(1, tokens[1:, None])[:, 0],
            "values": values[:-1],
            "entropies": -(logprobs.exp() * logprobs).sum(-1)[:-1],
        }
        return {name: torch.cat([x.new_zeros(1), x]) for name, x in per_position.items()}

    def _linear(self, x: Tensor, name: str, layer: int) -> Tensor:
        weight = self.weights[f"decoder.layers.{name}.weight/{layer}"]
        return x @ weight.t() + self.weights[f"decoder.layers.{name}.bias/{layer}"]

    def _norm(self, x: Tensor, name: str) -> Tensor:
        kind, slash, layer = name.partition("/")
        scale = self.weights[f"decoder.{kind}weight{slash}{layer}"]
        shift = self.weights[f"decoder.{kind}bias{slash}{layer}"]
        mean = x.mean(-1, keepdim=True)
        variance = (x - mean).square().mean(-1, keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt() * scale + shift

    def _attention(self, layer: int, x: Tensor) -> Tensor:
        size = HIDDEN // HEADS
        qkv = self._linear(x, "self_attention.linear_qkv", layer)
        # Megatron keeps each head's query, key and value rows together.
        q, k, v = qkv.view(len(x), HEADS, 3, size).permute(2, 1, 0, 3)
        scores = q @ k.transpose(1, 2) / math.sqrt(size)
        future = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
        seen = scores.masked_fill(future, -torch.inf).softmax(-1) @ v
        out = seen.transpose(0, 1).reshape(len(x), HIDDEN)
        return self._linear(out, "self_attention.linear_proj", layer)

    def _feed_forward(self, layer: int, x: Tensor) -> Tensor:
        inner = self._linear(x, "mlp.linear_fc1", layer)
        gelu = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        return self._linear(gelu, "mlp.linear_fc2", layer)
