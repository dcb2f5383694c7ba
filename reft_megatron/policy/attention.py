"""Attention over sequences of true length: rectangular, packed, or cached.

Owns the core attention that plugs into Megatron's layers through the layer spec, and the three
*layouts* that tell it which tokens may see which. A layout is a value that travels from the model's
`forward` to every layer in the place of Megatron's `attention_bias`, the one argument that the
block, recomputation included, hands down untouched.

Legend: S positions in a row, B rows, N heads on this rank, D head size, n sequences.
"""

from __future__ import annotations

from typing import Protocol

import torch
from megatron.core.tensor_parallel.random import get_cuda_rng_tracker
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor
from torch.nn import functional

__all__ = ["Cache", "Cached", "CoreAttention", "Layout", "Packed", "Prefill", "Rectangle"]


class Layout(Protocol):
    """Which tokens of a micro-batch may attend to which."""

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, *, layer: int, dropout: float
    ) -> Tensor:
        """Attention output [S, B, N, D] of query, key, value [S, B, N, D] in layer `layer`."""
        ...


class Rectangle:
    """One sequence a row, right-padded: causality alone keeps padding out of what counts."""

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, *, layer: int, dropout: float
    ) -> Tensor:
        """See Layout."""
        q, k, v = (x.permute(1, 2, 0, 3) for x in (query, key, value))
        out = _causal(q, k, v, dropout=dropout)
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
        self, query: Tensor, key: Tensor, value: Tensor, *, layer: int, dropout: float
    ) -> Tensor:
        """See Layout; B is 1."""
        q, k, v = (self._spread(x) for x in (query, key, value))
        out = _causal(q, k, v, dropout=dropout).transpose(1, 2).flatten(0, 1)
        return out.index_select(0, self._cells)[:, None]

    def _spread(self, x: Tensor) -> Tensor:
        """[S, 1, N, D] -> [n, N, longest, D], zeros where a sequence is over."""
        n, longest = self._shape
        flat = x.new_zeros(n * longest, x.shape[2], x.shape[3])
        flat = flat.index_copy(0, self._cells, x[:, 0])
        return flat.view(n, longest, x.shape[2], x.shape[3]).transpose(1, 2)


class Cache:
    """Keys and values of the layers of one model chunk, a row per sequence being generated."""

    def __init__(self, *, rows: int, positions: int, heads: int, size: int) -> None:
        """Room for `rows` sequences of `positions` tokens, `heads` heads of `size` a layer."""
        self._shape = (rows, heads, positions, size)
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def layer(self, number: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """(keys, values), each [rows, N, positions, D], of layer `number`; made on first use."""
        if number not in self._layers:
            self._layers[number] = (like.new_zeros(self._shape), like.new_zeros(self._shape))
        return self._layers[number]

    def keep(self, rows: Tensor) -> None:
        """Keep these rows, in this order."""
        for number, (keys, values) in self._layers.items():
            self._layers[number] = (keys[rows], values[rows])
        self._shape = (len(rows), *self._shape[1:])


class Prefill:
    """Prompts, right-padded, one a row: attends like Rectangle and fills the cache.

    Prompt i's keys and values go to every cache row in `rows` whose entry of `prompts` is i, so
    that all samples of a prompt share one pass.
    """

    def __init__(self, cache: Cache, rows: Tensor, prompts: Tensor) -> None:
        """rows int64 [m] cache rows to fill, prompts int64 [m] the prompt each one holds."""
        self._cache, self._rows, self._prompts = cache, rows, prompts

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, *, layer: int, dropout: float
    ) -> Tensor:
        """See Layout; B is the number of prompts."""
        for stored, fresh in zip(self._cache.layer(layer, key), (key, value), strict=True):
            stored[self._rows, :, : key.shape[0]] = fresh.permute(1, 2, 0, 3)[self._prompts]
        return Rectangle().attend(query, key, value, layer=layer, dropout=dropout)


class Cached:
    """One new token a row, attending to everything its cache row holds."""

    def __init__(self, cache: Cache, positions: Tensor) -> None:
        """positions int64 [rows]: where the new token of each cache row stands."""
        self._cache, self._positions = cache, positions
        self._rows = torch.arange(len(positions), device=positions.device)
        self._span = int(positions.max()) + 1
        seen = torch.arange(self._span, device=positions.device)[None, :] <= positions[:, None]
        self._mask = seen[:, None, None, :]

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, *, layer: int, dropout: float
    ) -> Tensor:
        """See Layout; S is 1 and B the cache's rows."""
        keys, values = self._cache.layer(layer, key)
        keys[self._rows, :, self._positions] = key[0]
        values[self._rows, :, self._positions] = value[0]
        out = functional.scaled_dot_product_attention(
            query.permute(1, 2, 0, 3),
            keys[:, :, : self._span],
            values[:, :, : self._span],
            attn_mask=self._mask,
            enable_gqa=query.shape[2] != key.shape[2],
        )
        return out.permute(2, 0, 1, 3)


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
        self._layer = layer_number
        self._dropout = config.attention_dropout

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        *,
        attention_bias: Layout,
        **_: object,
    ) -> Tensor:
        """query [S, B, N, D], key and value [S, B, groups, D] -> [S, B, N * D]."""
        dropout = self._dropout if self.training else 0.0
        if dropout:
            # Tensor-parallel ranks hold different heads, so they must drop different entries.
            with get_cuda_rng_tracker().fork():
                out = attention_bias.attend(query, key, value, layer=self._layer, dropout=dropout)
        else:
            out = attention_bias.attend(query, key, value, layer=self._layer, dropout=0.0)
        return out.flatten(2)


def _causal(q: Tensor, k: Tensor, v: Tensor, *, dropout: float) -> Tensor:
    """Causal attention of [B, N, S, D]."""
    return functional.scaled_dot_product_attention(
        q, k, v, dropout_p=dropout, is_causal=True, enable_gqa=q.shape[1] != k.shape[1]
    )
