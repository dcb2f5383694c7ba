"""A model chunk's weights as rectangles of whole tensors.

Owns the walk over what this rank holds: each weight with its name in the whole model, the layer it
belongs to, and the place of its rows and columns. Gate and up halves of a gated feed-forward block,
which lie in one weight, come as two rectangles. Drawing, reading and comparing weights all work on
this; how a layout cuts the model stays Megatron's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from megatron.core.dist_checkpointing import ShardedTensor
from megatron.core.dist_checkpointing.mapping import ShardedTensorFactory
from torch import Tensor

from reft_megatron.policy.model import PolicyModel

__all__ = ["Slice", "slices"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A rectangle of one weight of the model, held by this rank."""

    key: str
    """Megatron's name of the weight in the whole model, the same in all layers."""
    layer: int | None
    """Which layer, from 0; None for a weight outside the layers."""
    shape: tuple[int, ...]
    """Of the whole weight, padded vocabulary rows included."""
    begin: tuple[int, ...]
    """Where the rectangle begins in the whole weight."""
    data: Tensor
    """The rectangle, a view of the parameter: writing to it changes the model."""


def slices(chunk: PolicyModel) -> Iterator[Slice]:
    """Every weight of `chunk`, the tied output embedding of a last stage included."""
    for part in chunk.sharded_state_dict().values():
        built = part.build() if isinstance(part, ShardedTensorFactory) else [part]
        for tensor in built:
            if isinstance(tensor, ShardedTensor) and tensor.data is not None:
                yield _slice(tensor)


def _slice(part: ShardedTensor) -> Slice:
    stacked = part.prepend_axis_num
    shape = part.global_shape[stacked:]
    return Slice(
        key=part.key,
        layer=part.global_offset[0] if stacked else None,
        shape=tuple(shape),
        begin=tuple(part.global_offset[stacked:]),
        data=part.data.view(part.data.shape[-len(shape) :]),
    )
