"""Attention over sequences of true length, rectangular or packed.

Owns the core attention that plugs into Megatron's layers through the layer spec, and the two
*layouts* that tell it which tokens may see which. A layout is a value that travels from the model's
`forward` to every layer in the place of Megatron's `attention_bias`, the one argument that the
block, recomputation included, hands down untouched.

Legend: S positions in a row, B rows, N heads on this rank, D head size, n sequences.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from megatron.core.tensor_parallel.random import get_cuda_rng_tracker
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor
from torch.nn import functional

from reft_megatron.policy.families import Attention
from reft_megatron.policy.rotary import Rotation

__all__ = [
    "CoreAttention",
    "Layout",
    "Packed",
    "Part",
    "Positioned",
    "Rectangle",
    "visible",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One layer's attention, as a layout needs to know it."""

    layer: int
    """Number of the layer in the whole model, from 1."""
    window: int
    """A token sees this many positions, its own included; 0 sees all before it."""


class Layout(Protocol):
    """Which tokens of a micro-batch may attend to which."""

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, *, part: Part, dropout: float
    ) -> Tensor:
        """Attention output [S, B, N, D] of query, key, value [S, B, N, D] in layer `part`."""
        ...


class Rectangle:
    """One sequence a row, right-padded: causality alone keeps padding out of what counts."""

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, *, part: Part, dropout: float
    ) -> Tensor:
        """See Layout."""
        q, k, v = (x.permute(1, 2, 0, 3) for x in (query, key, value))
        out = _causal(q, k, v, dropout=dropout, window=part.window)
        return out.permute(2, 0, 1, 3)


class Packed:
    """Sequences end to end in one row.

    The row is spread over [n, longest] for the attention alone, so that every other layer works on
    real tokens only, and no [S, S] mask is held.
    """

    def __init__(self, lengths: tuple[int, ...], row: int, device: torch.device) -> None:
        """`lengths` of the sequences in order, `row` the row's length with its tail of padding."""
        tail = row - sum(lengths)
        sizes = torch.tensor([*lengths, tail] if tail else [*lengths], device=device)
        longest = int(sizes.max())
        within = torch.arange(longest, device=device)[None, :] < sizes[:, None]
        # cell i of the rectangle, in the order of the row's tokens
        self._cells = within.flatten().nonzero()[:, 0]
        self._shape = (len(sizes), longest)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, *, part: Part, dropout: float
    ) -> Tensor:
        """See Layout; B is 1."""
        q, k, v = (self._spread(x) for x in (query, key, value))
        out = _causal(q, k, v, dropout=dropout, window=part.window).transpose(1, 2).flatten(0, 1)
        return out.index_select(0, self._cells)[:, None]

    def _spread(self, x: Tensor) -> Tensor:
        """[S, 1, N, D] -> [n, N, longest, D], zeros where a sequence is over."""
        n, longest = self._shape
        flat = x.new_zeros(n * longest, x.shape[2], x.shape[3])
        flat = flat.index_copy(0, self._cells, x[:, 0])
        return flat.view(n, longest, x.shape[2], x.shape[3]).transpose(1, 2)


class Positioned:
    """A layout with the rotation of its tokens: what travels to the layers."""

    def __init__(self, layout: Layout, positions: Tensor, attention: Attention) -> None:
        """positions int64 [B, S] of the tokens in their sequences."""
        self.layout = layout
        self._rotation = None
        if attention.rope is not None:
            self._rotation = Rotation(attention.rope, positions, attention.size)

    def rotate(self, x: Tensor) -> Tensor:
        """Queries or keys [S, B, N, D] in their positions; as they are where none rotate."""
        return x if self._rotation is None else self._rotation(x)


class CoreAttention(torch.nn.Module):
    """Megatron's core attention, with the layout deciding who sees whom."""

    def __init__(
        self,
        *,
        config: TransformerConfig,
        layer_number: int,
        attn_mask_type: AttnMaskType,
        attention_type: str,
        **_: object,
    ) -> None:
        """Built by Megatron from the layer spec; refuses anything but causal self-attention."""
        super().__init__()
        if attn_mask_type is not AttnMaskType.causal or attention_type != "self":
            raise AssertionError("this attention is causal self-attention only")
        shape = config.architecture.attention
        window = shape.window if layer_number > shape.window_from else 0
        self._part = Part(layer=layer_number, window=window)
        self._dropout = config.attention_dropout

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        *,
        attention_bias: Positioned,
        **_: object,
    ) -> Tensor:
        """query [S, B, N, D], key and value [S, B, groups, D] -> [S, B, N * D]."""
        dropout = self._dropout if self.training else 0.0
        query, key = attention_bias.rotate(query), attention_bias.rotate(key)
        attend = partial(
            attention_bias.layout.attend, query, key, value, part=self._part, dropout=dropout
        )
        if dropout:
            # Tensor-parallel ranks hold different heads, so they must drop different entries.
            with get_cuda_rng_tracker().fork():
                return attend().flatten(2)
        return attend().flatten(2)


def _causal(q: Tensor, k: Tensor, v: Tensor, *, dropout: float, window: int) -> Tensor:
    """Causal attention of [B, N, S, D], within the window where there is one."""
    grouped = q.shape[1] != k.shape[1]
    length = q.shape[2]
    if not 0 < window < length:
        return functional.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, is_causal=True, enable_gqa=grouped
        )
    where = torch.arange(length, device=q.device)
    mask = visible(where[:, None] - where, window)
    return functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, enable_gqa=grouped
    )


def visible(back: Tensor, window: int) -> Tensor:
    """True where a key `back` positions before the query is seen."""
    seen = back >= 0
    return seen & (back < window) if window else seen
