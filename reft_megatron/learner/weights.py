"""Loss weights: a mean is a sum whose every term carries its own divisor.

With the normaliser inside the weights, every loss is `sum(weight * loss of token)`. Sums of parts
are the whole, so that neither micro-batches nor packing nor data ranks can change a loss. The
normalisers (`num_sequences`, `total`) count the whole batch over all data ranks.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["sequence_mean_weights", "token_mean_weights"]


def sequence_mean_weights(mask: Tensor, *, num_sequences: int) -> Tensor:
    """ReFT's mean: over the response tokens of a sequence, then over sequences (train_rl_reft.py).

    `mask` [B, T] bool, response tokens; `num_sequences` of the whole batch. Returns [B, T]
    float32: `1 / (T_i * num_sequences)` where counted, 0 elsewhere. A sequence without response
    tokens weighs nothing, and still counts in `num_sequences`.
    """
    tokens = mask.sum(1, keepdim=True).clamp(min=1)
    return mask.float() / (tokens.double() * num_sequences).float()


def token_mean_weights(weights: Tensor, *, total: float) -> Tensor:
    """The mean over all tokens, or a weighted one: `weights / total`, [B, T] float32.

    `weights` [B, T], a bool mask or float weights; `total` > 0 is their sum over the whole batch.
    """
    return weights.float() / total
