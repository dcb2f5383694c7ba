"""The shape of a model, apart from how it is laid over ranks.

Owns the values that a family file fills in and that `policy.model`, `policy.plan` and the
conversion of weights read. They are complete: a checkpoint that holds one can be built from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

__all__ = ["Architecture", "Attention", "Norm", "Rope", "from_dict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rope:
    """Rotary position embedding (Su et al. 2021), with the scalings of longer contexts."""

    theta: float
    """Base of the wavelengths."""
    scaling: Literal["none", "linear", "llama3"] = "none"
    """How wavelengths are stretched: not, all alike, or the long ones only (Llama 3.1)."""
    factor: float = 1.0
    """By how much."""
    low_freq_factor: float = 1.0
    """llama3: wavelengths above original_positions / this are stretched in full."""
    high_freq_factor: float = 4.0
    """llama3: wavelengths below original_positions / this are not stretched."""
    original_positions: int = 0
    """llama3: context length before stretching."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """The shape of self-attention."""

    heads: int
    """Query heads."""
    groups: int
    """Key and value heads; fewer than `heads` in grouped-query attention."""
    size: int
    """Width of one head."""
    qkv_bias: bool
    """Biases on queries, keys and values."""
    qk_norm: bool = False
    """An RMSNorm over each head's query and key before rotation (Qwen3)."""
    rope: Rope | None = None
    """Rotary positions; None for learned ones."""
    window: int = 0
    """A token sees this many positions, its own included; 0 sees all before it."""
    window_from: int = 0
    """First layer that has the window, counted from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """The shape of normalisation layers."""

    kind: Literal["layer", "rms"]
    """LayerNorm, or RMSNorm, which has no mean and no shift."""
    eps: float
    """Epsilon."""
    affine: bool = True
    """Learned scale (and shift, in a LayerNorm)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What a family file fills in and `policy.model` builds."""

    name: str
    """Preset name, or model type and sizes where a config.json was read; checkpoints keep it."""
    model_type: str
    """Hugging Face's model type, which names the family: opt, llama, qwen2, ..."""
    layers: int
    """Transformer layers."""
    hidden: int
    """Width of the residual stream."""
    ffn: int
    """Width inside the feed-forward block."""
    positions: int
    """Longest sequence, in tokens."""
    position_offset: int
    """Rows of the table of learned positions before position 0 (2 in OPT)."""
    vocab: int
    """Rows of the token embedding without padding; 0 takes the tokenizer's size."""
    activation: Literal["gelu", "relu", "swiglu"]
    """Feed-forward activation; gelu is the exact one (erf), swiglu has a gate."""
    bias: bool
    """Biases in all linear layers but, perhaps, queries, keys and values."""
    tied: bool
    """Input embedding and output projection share one matrix."""
    init_std: float
    """Standard deviation of random initial weights."""
    attention: Attention
    """Self-attention."""
    norm: Norm
    """Normalisation."""

    @property
    def gated(self) -> bool:
        """True if the feed-forward block has a gate beside its first matrix."""
        return self.activation == "swiglu"


_ADAPTER = TypeAdapter(Architecture)


def from_dict(tree: dict[str, Any]) -> Architecture:
    """The architecture that `dataclasses.asdict` made `tree` of; ValueError if it is none."""
    return _ADAPTER.validate_python(tree)
