"""Tokens in multiples that a product wants.

Owns padding at the end of every rank's run of tokens, so that it also holds where a layer gathers
or scatters the runs of several ranks (sequence parallelism).
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

__all__ = ["pad", "unpad"]


def pad(x: Tensor, *, parts: int, multiple: int) -> Tensor:
    """[S, ...] with zeros behind each of its `parts` runs, up to a `multiple` of tokens each."""
    length = len(x) // parts
    missing = -length % multiple
    if not missing:
        return x
    runs = x.reshape(parts, length, -1)
    return functional.pad(runs, (0, 0, 0, missing)).view(-1, *x.shape[1:])


def unpad(x: Tensor, *, parts: int, length: int) -> Tensor:
    """The first `length` tokens of each of the `parts` runs of x [S, ...]."""
    padded = len(x) // parts
    if padded == length:
        return x
    return x.view(parts, padded, *x.shape[1:])[:, :length].reshape(-1, *x.shape[1:])
