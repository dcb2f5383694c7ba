"""Random initial weights that do not depend on the parallel layout.

Owns drawing each weight from a generator keyed by (seed, name), as the whole tensor, of which a
rank keeps its part. Megatron's own initialisation draws differently on every pipeline layout.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Sequence
from itertools import groupby

import torch
from torch import Tensor

from reft_megatron.policy.families import Architecture
from reft_megatron.policy.model import PolicyModel
from reft_megatron.policy.slices import Slice, slices

__all__ = ["initialise"]

_VOCABULARY = ("embedding.word_embeddings.weight", "output_layer.weight")
_POSITIONS = "embedding.position_embeddings.weight"
_RESIDUAL = ("linear_proj.weight", "linear_fc2.weight")


@torch.no_grad()
def initialise(
    chunks: Sequence[PolicyModel],
    architecture: Architecture,
    *,
    seed: int,
    only: Collection[str] | None = None,
) -> None:
    """Fill the weights of `chunks`: normal matrices, zero biases, identity norms.

    Matrices that write into the residual stream shrink with depth (GPT-2's rule); the value head is
    uniform in +-1/sqrt(hidden), torch's default for a linear layer, as in the reference. `only`
    names the keys to fill; None fills all.
    """
    for chunk in chunks:
        wanted = (each for each in slices(chunk) if only is None or each.key in only)
        # Gate and up halves are two slices of one weight, which is drawn once.
        for _, parts in groupby(wanted, key=lambda each: (each.key, each.layer)):
            _fill(list(parts), architecture, seed=seed, vocab=chunk.vocab.rows)


def _fill(parts: Sequence[Slice], architecture: Architecture, *, seed: int, vocab: int) -> None:
    """Draw one weight and give each of its `parts` its own."""
    key, layer, shape = parts[0].key, parts[0].layer, parts[0].shape
    # Padded vocabulary rows, and those before position 0, are not drawn: they stay zero.
    first, rows = 0, shape[0]
    if key in _VOCABULARY:
        rows = vocab
    elif key == _POSITIONS:
        first, rows = architecture.position_offset, architecture.positions
    where = (layer,) if layer is not None else ()
    generator = _generator(seed, f"{key}/{where}")
    whole = _draw(key, [rows, *shape[1:]], architecture, generator=generator)
    for part in parts:
        _cut(part, whole, first=first)


def _cut(part: Slice, whole: Tensor, *, first: int) -> None:
    """Fill `part` from `whole`, whose rows begin at row `first` of the weight; zeros outside."""
    target = part.data.zero_()
    begin, size = part.begin[0], len(target)
    low, high = max(begin, first), min(begin + size, first + len(whole))
    columns = [
        slice(start, start + width)
        for start, width in zip(part.begin[1:], target.shape[1:], strict=True)
    ]
    if low < high:
        piece = whole[(slice(low - first, high - first), *columns)]
        target[low - begin : high - begin] = piece.to(target)


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
