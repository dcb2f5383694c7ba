"""From a Hugging Face folder to a checkpoint and back, a weight at a time.

Owns the two conversions. Neither builds a model: weights go from file to file as the runs of
`mapping` say, so that a model of any size passes through the memory of its largest weight, and
processes share the weights.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reft_megatron.errors import CheckpointError
from reft_megatron.mesh import Axis
from reft_megatron.policy.checkpoint import WEIGHTS, read_checked
from reft_megatron.policy.draft import Draft
from reft_megatron.policy.families import Architecture, read_architecture
from reft_megatron.policy.huggingface.load import Source, fill_rectangle
from reft_megatron.policy.huggingface.mapping import Weight, head_of, weights
from reft_megatron.policy.huggingface.reader import WeightFiles
from reft_megatron.policy.huggingface.settings import choose_dtypes, settings_files
from reft_megatron.policy.huggingface.shard_plan import TensorInfo
from reft_megatron.policy.huggingface.writer import WeightWriter
from reft_megatron.policy.meta import META, TOKEN_IDS, architecture_in, describe
from reft_megatron.policy.model import unpublished
from reft_megatron.policy.origin import FOLDER, folder_files
from reft_megatron.policy.torch_dist_reader import StoredWeights
from reft_megatron.policy.torch_dist_writer import Piece, write
from reft_megatron.tokenizer import load_tokenizer

__all__ = ["Converted", "to_checkpoint", "to_huggingface"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What a conversion made."""

    architecture: Architecture
    """The model."""
    head: str
    """Its head: value, rerank, or none."""
    tensors: int
    """Tensors written."""
    nbytes: int
    """Bytes of their data."""


def to_checkpoint(
    source: Path, folder: Path, *, world: Axis, allow_nonfinite: bool = False
) -> Converted:
    """Make the checkpoint `folder` of the Hugging Face folder `source`; every rank calls.

    Each tensor keeps its dtype, and a head that is there comes along. Raises CheckpointError, on
    every rank and with nothing left under the final name, for a model that is not supported, files
    that are not whole, NaN or infinities unless they are allowed, and a `folder` that exists.
    """
    with world.together():
        architecture = read_architecture(source)
        meta = {**_describe(architecture, source), "version": 0, "extra": {}}
        travelling = folder_files(source)
        files = WeightFiles(source, allow_nonfinite=allow_nonfinite)
        head = head_of(files.tensors)
        vocab = architecture.vocab
        opened = Source.check(files, architecture, vocab=vocab, head=head, world=world)
        pieces = _pieces(opened, architecture, head)
    with files:
        # One piece is written before the next is read, and fresh memory costs more than a copy.
        room = torch.empty(max(piece.nbytes for piece in pieces), dtype=torch.uint8)

        def read(piece: Piece) -> Tensor:
            weight = pieces[piece]
            target = room[: piece.nbytes].view(piece.dtype).view(weight.shape)
            fill_rectangle(target, weight, opened, begin=(0,) * len(weight.shape))
            return target.view(piece.size)

        nbytes = sum(piece.nbytes for piece in pieces)
        draft = Draft(folder, world, nbytes=nbytes)
        with draft.step("written"):
            write(draft.path / WEIGHTS, list(pieces), read, world=world)
        with draft.step("written"):
            if world.first:
                draft.put(META, json.dumps(meta, indent=1).encode())
                for name, content in travelling.items():
                    draft.put(f"{FOLDER}/{name}", content)
        draft.publish()
    return Converted(
        architecture=architecture,
        head=head,
        tensors=len(pieces),
        nbytes=nbytes,
    )


def to_huggingface(
    checkpoint: Path,
    folder: Path,
    *,
    world: Axis,
    dtype: str = "auto",
    shard_bytes: int = 5 * 10**9,
    keep_head: bool = True,
) -> Converted:
    """Make the Hugging Face folder `folder` of a checkpoint, whatever layout wrote it.

    `dtype` as in `choose_dtypes`; without `keep_head` the language model alone is written, which an
    untied classifier has none of. Raises CheckpointError as `to_checkpoint` does, and for a
    checkpoint that is not complete or damaged.
    """
    meta = read_checked(checkpoint, world, resume=False)
    with world.together():
        architecture = architecture_in(meta, checkpoint)
        stored = StoredWeights(checkpoint / WEIGHTS)
        head = _kept_head(checkpoint, stored, architecture, keep=keep_head)
        travelling = _travelling(checkpoint / FOLDER)
        found = weights(architecture, vocab=architecture.vocab, head=head)
        dtypes = choose_dtypes(dtype, travelling, {w.key: stored.dtype(w.key) for w in found})
        beside = settings_files(
            architecture,
            travelling,
            head=head,
            dtype=dtypes["embedding.word_embeddings.weight"],
            tokens={name: meta[name] for name in TOKEN_IDS if name in meta},
        )
    tensors = {
        name: TensorInfo(shape=shape, dtype=dtypes[w.key])
        for w in found
        for name, shape in w.sources.items()
    }
    with WeightWriter(folder, tensors, world=world, shard_bytes=shard_bytes) as writer:
        for weight in world.share(found, lambda w: math.prod(w.shape) * dtypes[w.key].itemsize):
            whole = _read(stored, weight).to(dtypes[weight.key])
            for run in weight.runs:
                piece = whole[run.target : run.target + run.rows]
                writer.write(run.name, piece, first_row=run.source)
        writer.finish(beside)
    return Converted(
        architecture=architecture,
        head=head,
        tensors=len(tensors),
        nbytes=sum(info.nbytes for info in tensors.values()),
    )


def _describe(architecture: Architecture, source: Path) -> dict[str, Any]:
    """The model and its tokenizer; CheckpointError if one does not fit the other."""
    tokenizer = load_tokenizer(source)
    if tokenizer.vocab_size > architecture.vocab:
        raise CheckpointError(
            f"{source}: the tokenizer has {tokenizer.vocab_size} ids, and the model embeds only "
            f"{architecture.vocab}. Put the tokenizer there that belongs to the model."
        )
    return describe(architecture, tokenizer, rows=architecture.vocab)


def _pieces(source: Source, architecture: Architecture, head: str) -> dict[Piece, Weight]:
    """Every weight, by the piece of a stored tensor that it becomes.

    CheckpointError if what becomes one tensor has several dtypes.
    """
    pieces: dict[Piece, Weight] = {}
    first: dict[str, tuple[str, torch.dtype]] = {}
    for weight in weights(architecture, vocab=architecture.vocab, head=head):
        for run in weight.runs:
            dtype = source.info(run.name).dtype
            other, wanted = first.setdefault(weight.key, (run.name, dtype))
            if dtype != wanted:
                raise CheckpointError(
                    f"{source.files.folder}: {other} is {wanted} and {run.name} is {dtype}, but "
                    f"both become part of {weight.key}. Save the model in one dtype."
                )
        pieces[_piece(weight, first[weight.key][1], architecture.layers)] = weight
    return pieces


def _piece(weight: Weight, dtype: torch.dtype, layers: int) -> Piece:
    """A weight as a piece of the stored tensor, in which layers are stacked."""
    begin = (0,) * len(weight.shape)
    if weight.layer is None:
        shape, size = weight.shape, weight.shape
    else:
        shape, size = (layers, *weight.shape), (1, *weight.shape)
        begin = (weight.layer, *begin)
    return Piece(key=weight.key, shape=shape, begin=begin, size=size, dtype=dtype)


def _kept_head(
    checkpoint: Path, stored: StoredWeights, architecture: Architecture, *, keep: bool
) -> str:
    head = head_of(stored.tensors)
    if keep:
        return head
    if unpublished(head) and not architecture.tied:
        raise CheckpointError(
            f"{checkpoint} is a classifier: without its head it has nothing that would say the "
            "next token, for its output projection was not trained. Export it with its head."
        )
    return "none"


def _travelling(folder: Path) -> dict[str, bytes]:
    try:
        return {path.name: path.read_bytes() for path in folder.glob("*") if path.is_file()}
    except OSError as error:
        raise CheckpointError(f"cannot read {error.filename}: {error.strerror}.") from None


def _read(stored: StoredWeights, weight: Weight) -> Tensor:
    """A stored weight without its padded rows."""
    begin = (0,) * len(weight.shape)
    if weight.layer is None:
        return stored.read(weight.key, begin, weight.shape)
    return stored.read(weight.key, (weight.layer, *begin), (1, *weight.shape))[0]
