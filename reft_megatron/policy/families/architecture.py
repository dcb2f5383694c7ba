"""The shape of a model, apart from how it is laid over ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Architecture"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What a family file fills in and `policy.model` builds."""

    name: str
    """Preset name."""
    layers: int
    """Transformer layers."""
    hidden: int
    """Width of the residual stream."""
    heads: int
    """Attention heads."""
    ffn: int
    """Width inside the feed-forward block."""
    positions: int
    """Longest sequence, in tokens."""
    activation: Literal["gelu", "relu"]
    """Feed-forward activation; gelu is the exact one (erf)."""
    bias: bool
    """Biases in linear layers."""
    norm_affine: bool
    """Learned scale and shift in LayerNorms."""
    norm_eps: float
    """LayerNorm epsilon."""
    tied: bool
    """Input embedding and output projection share one matrix."""
    init_std: float
    """Standard deviation of random initial weights."""
