"""Random initial weights that do not depend on the parallel layout.

Owns drawing each weight from a generator keyed by (seed, global name), as the whole tensor, of
which a rank keeps its slice. Megatron's own initialisation draws differently on every pipeline
layout.
"""

from __future__ import annotations

import hashlib
import math

import torch
from megatron.core.dist_checkpointing import ShardedTensor
from torch import Tensor

from reft_megatron.policy.families import Architecture
from reft_megatron.policy.model import PolicyModel

__all__ = ["initialise"]

_VOCABULARY = ("embedding.word_embeddings.weight", "output_layer.weight")
_RESIDUAL = ("linear_proj.weight", "linear_fc2.weight")


@torch.no_grad()
def initialise(chunks: list[PolicyModel], architecture: Architecture, *, seed: int) -> None:
    """Fill every weight of `chunks`: normal matrices, zero biases, identity norms.

    Matrices that write into the residual stream shrink with depth (GPT-2's rule); the value head is
    uniform in +-1/sqrt(hidden), torch's default for a linear layer, as in the reference.
    """
    for chunk in chunks:
        for part in chunk.sharded_state_dict().values():
            if isinstance(part, ShardedTensor) and part.data is not None:
                rows = chunk.shard.real if part.key.endswith(_VOCABULARY) else None
                _fill(part, architecture, seed=seed, real_rows=rows)


def _fill(
    part: ShardedTensor, architecture: Architecture, *, seed: int, real_rows: int | None
) -> None:
    layers = part.prepend_axis_num
    name = f"{part.key}/{tuple(part.global_offset[:layers])}"
    shape = list(part.global_shape[layers:])
    if real_rows is not None:
        shape[0] = real_rows
    whole = _draw(part.key, shape, architecture, generator=_generator(seed, name))
    target = part.data.view(part.data.shape[-len(shape) :])
    # Padded vocabulary rows lie past the drawn ones and stay zero.
    target.zero_()
    begin = part.global_offset[layers:]
    mine = tuple(
        slice(start, min(start + size, full))
        for start, size, full in zip(begin, target.shape, shape, strict=True)
    )
    piece = whole[mine]
    target[tuple(slice(0, size) for size in piece.shape)] = piece.to(target)


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def _draw(
    key: str, shape: list[int], architecture: Architecture, *, generator: torch.Generator
) -> Tensor:
    """The whole fp32 tensor called `key`."""
    if key.startswith("value_head"):
        bound = 1 / math.sqrt(architecture.hidden)
        return torch.empty(shape).uniform_(-bound, bound, generator=generator)
    # Megatron's global names say `layernorm` at the end and `layer_norm` inside the layers.
    if "norm" in key:
        return torch.ones(shape) if key.endswith("weight") else torch.zeros(shape)
    if key.endswith("bias"):
        return torch.zeros(shape)
    depth = math.sqrt(2 * architecture.layers) if key.endswith(_RESIDUAL) else 1.0
    std = architecture.init_std / depth
    return torch.empty(shape).normal_(0.0, std, generator=generator)
