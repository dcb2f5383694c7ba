"""The key/value cache of generation, and the attention of a step over it.

Owns the cache of a model chunk, a row per sequence, and `Mixed`: the layout of a step in which many
sequences decode one token each while pieces of new prompts are read. Both kinds of token pass
through every layer in one row, so no layer but attention knows of them.

Legend: T tokens of a step, N heads and G key-value heads on this rank, D head size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from reft_megatron.ops.decode_attention import append, decode_attention
from reft_megatron.ops.reference.e4m3 import dequantise
from reft_megatron.policy.attention import Part, visible

__all__ = ["Cache", "Mixed", "Piece"]


class Cache:
    """Keys and values of the layers of one model chunk, a row per sequence."""

    def __init__(
        self,
        layers: Sequence[int],
        *,
        rows: int,
        positions: int,
        heads: int,
        size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """Room in each of `layers`, by their numbers, for `rows` sequences of `positions` tokens.

        A layer has `heads` key-value heads of `size`. With the `dtype` float8_e4m3fn keys and
        values are codes, and have a scale for each token and head.
        """
        self.rows = rows
        """Sequences there is room for."""
        self._place = {number: place for place, number in enumerate(layers)}
        # All layers in one tensor, so that a row is copied at once; zeros, since torch's own
        # attention multiplies what it masks.
        shape = (2, len(layers), rows, heads, positions, size)
        self._stored = torch.zeros(shape, dtype=dtype, device=device)
        self._scales: Tensor | None = None
        if dtype == torch.float8_e4m3fn:
            self._scales = torch.ones(shape[:-1], device=device)

    def layer(self, number: int) -> tuple[Tensor, Tensor]:
        """(keys, values), each [rows, G, positions, D], of layer `number`."""
        keys, values = self._stored[:, self._place[number]]
        return keys, values

    def scales(self, number: int) -> tuple[Tensor, Tensor] | None:
        """Those of the layer's keys and values, fp32 [rows, G, positions]; None without codes."""
        if self._scales is None:
            return None
        keys, values = self._scales[:, self._place[number]]
        return keys, values

    def copy(self, source: int, targets: Sequence[int], length: int) -> None:
        """Give the rows `targets` the first `length` positions of the row `source`."""
        held = [self._stored]
        if self._scales is not None:
            held = [self._stored.view(torch.uint8), self._scales]
        for tensor in held:
            for target in targets:
                tensor[:, :, target, :, :length] = tensor[:, :, source, :, :length]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Some tokens of one prompt, to be read in one step."""

    row: int
    """Cache row of the prompt."""
    start: int
    """Position of the first of them."""
    length: int
    """How many they are."""


class Mixed:
    """A step's tokens in one row: a new token for each of the first cache rows, then pieces."""

    def __init__(
        self, cache: Cache, positions: Tensor, *, decoding: int, pieces: Sequence[Piece]
    ) -> None:
        """positions int64 [T]: the first `decoding` are those of cache rows 0, 1, ..., one each.

        A negative one is an idle row. Without pieces nothing here waits for a GPU.
        """
        self._cache, self._positions, self._decoding = cache, positions, decoding
        self._lengths = positions[:decoding] + 1
        self._rows = None
        if pieces:
            rows = [torch.full((piece.length,), piece.row) for piece in pieces]
            self._rows = torch.cat([torch.arange(decoding), *rows]).to(positions.device)
        self._pieces = list(_spans(decoding, pieces))
        self._masks: dict[tuple[Piece, int], Tensor] = {}

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, *, part: Part, dropout: float
    ) -> Tensor:
        """See Layout; S is T and B is 1. Nothing is dropped."""
        query, key, value = query[:, 0], key[:, 0], value[:, 0]
        (keys, values), scales = self._cache.layer(part.layer), self._cache.scales(part.layer)
        how: dict[str, Any] = {"positions": self._positions, "rows": self._rows, "scales": scales}
        append(keys, values, key=key, value=value, **how)
        new, window = query[: self._decoding], part.window
        how = {"lengths": self._lengths, "window": window, "scales": scales}
        out = [decode_attention(new, keys, values, **how)]
        for piece, where in self._pieces:
            seen = self._seen(piece, window)
            # From the cache, also what the piece has just put there: where a prompt is cut must
            # not show in what is said.
            key, value = _read((keys, values), scales, piece, like=query)
            found = functional.scaled_dot_product_attention(
                query[where].transpose(0, 1)[None],
                key,
                value,
                attn_mask=seen,
                is_causal=seen is None,
                enable_gqa=query.shape[1] != keys.shape[1],
            )
            out.append(found[0].transpose(0, 1))
        return torch.cat(out)[:, None]

    def _seen(self, piece: Piece, window: int) -> Tensor | None:
        """[length, end]: what each token of the piece sees; None where plain causality says it."""
        if not piece.start and not 0 < window < piece.length:
            return None
        if (piece, window) not in self._masks:
            every = torch.arange(piece.start + piece.length, device=self._positions.device)
            self._masks[piece, window] = visible(every[piece.start :, None] - every, window)
        return self._masks[piece, window]


def _read(
    cached: tuple[Tensor, Tensor],
    scales: tuple[Tensor, Tensor] | None,
    piece: Piece,
    *,
    like: Tensor,
) -> list[Tensor]:
    """Keys and values [1, G, end, D] up to the piece's end, in the dtype of `like`."""
    end = piece.start + piece.length
    held = [x[piece.row, None, :, :end] for x in cached]
    if scales is None:
        return held
    its = [x[piece.row, None, :, :end] for x in scales]
    return [dequantise(x, s).to(like.dtype) for x, s in zip(held, its, strict=True)]


def _spans(start: int, pieces: Iterable[Piece]) -> Iterable[tuple[Piece, slice]]:
    """Each piece with its place among the step's tokens, the first at `start`."""
    for piece in pieces:
        yield piece, slice(start, start + piece.length)
        start += piece.length
