"""Decode attention and its append, row by row in plain torch.

Says what `ops.decode_attention` must compute; knows no backend. Computes in the dtype of the query:
fp64 copies of the inputs give the truth from which the others' distance is measured.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["append", "decode_attention"]


def decode_attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    lengths: Tensor,
    rows: Tensor | None = None,
    window: int = 0,
    scale: float | None = None,
) -> Tensor:
    """See `ops.decode_attention.decode_attention`; softmax(q k^T scale) v over what a row holds."""
    out = torch.zeros_like(query)
    grouped = query.reshape(len(query), keys.shape[1], -1, query.shape[2])
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    for i, length in enumerate(lengths.tolist()):
        row = i if rows is None else int(rows[i])
        first = max(length - window, 0) if window else 0
        if length:
            seen = slice(first, length)
            scores = grouped[i] @ keys[row, :, seen].to(query.dtype).mT * factor
            weights = torch.softmax(scores, dim=-1)
            out[i] = (weights @ values[row, :, seen].to(query.dtype)).flatten(0, 1)
    return out


def append(
    keys: Tensor,
    values: Tensor,
    *,
    key: Tensor,
    value: Tensor,
    positions: Tensor,
    rows: Tensor | None = None,
) -> None:
    """See `ops.decode_attention.append`."""
    for i, position in enumerate(positions.tolist()):
        if position >= 0:
            row = i if rows is None else int(rows[i])
            keys[row, :, position] = key[i]
            values[row, :, position] = value[i]
