"""The draw of a token in plain torch: what `ops.drawing` must compute."""

from __future__ import annotations

import torch
from torch import Tensor

from reft_megatron.ops.philox import gumbel

__all__ = ["draw"]


def draw(
    logits: Tensor,
    keys: Tensor,
    positions: Tensor,
    *,
    start: int,
    temperature: float,
    greedy: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(score, token, logit, log-sum-exp), each [B]; see `ops.drawing.Drawn`."""
    scaled = logits / temperature
    scores = scaled
    if not greedy:
        scores = scaled + gumbel(keys, positions, start=start, count=logits.shape[1])
    score, index = scores.max(dim=-1)
    chosen = scaled.gather(1, index[:, None])[:, 0]
    return score, index + start, chosen, torch.logsumexp(scaled, dim=-1)
