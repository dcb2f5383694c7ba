"""Passing one inference step through the pipeline stages of a replica.

Owns the hand-over of hidden states between stages outside Megatron's training schedules, and the
switch that turns sequence parallelism off for it (a step of one token cannot be split by position).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from reft_megatron.mesh import Mesh
from reft_megatron.policy.attention import Layout
from reft_megatron.policy.model import Head, PolicyModel

__all__ = ["forward_stages", "whole_sequences"]

# An embedding without learned positions splits what it gives by a switch of its own.
_SPLITTING = ("sequence_parallel", "reduce_scatter_embeddings")


def forward_stages(
    chunks: Sequence[PolicyModel],
    mesh: Mesh,
    tokens: Tensor,
    *,
    positions: Tensor,
    layout_of: Callable[[int], Layout],
    head: Head,
) -> Tensor | None:
    """`head`'s output on the last stage, None elsewhere; every rank of the replica must call.

    tokens and positions int64 [R, L]; `layout_of(i)` is the attention layout of model chunk i.
    """
    axis = mesh.pipeline
    output: Tensor | None = None
    for index, chunk in enumerate(chunks):
        if not chunk.pre_process:
            shape = (tokens.shape[1], tokens.shape[0], chunk.config.hidden_size)
            hidden = torch.empty(shape, dtype=chunk.config.params_dtype, device=mesh.device)
            dist.recv(hidden, src=axis.ranks[axis.rank - 1], group=axis.group)
            chunk.set_input_tensor(hidden)
        output = chunk(tokens, positions, layout_of(index), head)
        if not chunk.post_process:
            dist.send(output, dst=axis.ranks[(axis.rank + 1) % axis.size], group=axis.group)
            output = None
    return output


@contextlib.contextmanager
def whole_sequences(chunks: Sequence[PolicyModel]) -> Iterator[None]:
    """Sequence parallelism off inside the block, as it was afterwards."""
    split = [
        (part, name)
        for chunk in chunks
        for part in (chunk.config, *chunk.modules())
        for name in _SPLITTING
        if getattr(part, name, False) is True
    ]
    for part, name in split:
        setattr(part, name, False)
    try:
        yield
    finally:
        for part, name in split:
            setattr(part, name, True)
