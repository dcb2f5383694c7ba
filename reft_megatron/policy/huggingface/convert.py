"""From a Hugging Face folder to a checkpoint and back, a weight at a time.

Owns the two conversions. Neither builds a model: weights go from file to file as the runs of
`mapping` say, so that a model of any size passes through the memory of its largest weight, and
processes share the weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reft_megatron.errors import CheckpointError
from reft_megatron.mesh import Axis
from reft_megatron.policy.draft import Draft
from reft_megatron.policy.families import Architecture, from_dict, read_architecture
from reft_megatron.policy.huggingface.load import Source, fill_rectangle
from reft_megatron.policy.huggingface.mapping import Weight, head_of, weights
from reft_megatron.policy.huggingface.reader import WeightFiles
from reft_megatron.policy.huggingface.settings import choose_dtype, write_settings
from reft_megatron.policy.huggingface.shard_plan import TensorInfo
from reft_megatron.policy.huggingface.writer import WeightWriter
from reft_megatron.policy.origin import FOLDER, folder_files, identity
from reft_megatron.policy.torch_dist_reader import StoredWeights
from reft_megatron.policy.torch_dist_writer import Piece, write
from reft_megatron.tokenizer import load_tokenizer

__all__ = ["Converted", "to_checkpoint", "to_huggingface"]

_WEIGHTS = "weights"
_TOKENS = ("eos_token_id", "pad_token_id")


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
    architecture = read_architecture(source)
    meta = _meta(architecture, source)
    travelling = folder_files(source)
    with WeightFiles(source, allow_nonfinite=allow_nonfinite) as files:
        head = head_of(files.tensors)
        opened = Source.check(files, architecture, vocab=architecture.vocab, head=head)
        found = weights(architecture, vocab=architecture.vocab, head=head)
        pieces = {_piece(w, opened, architecture.layers): w for w in found}

        # One piece is written before the next is read, and fresh memory costs more than a copy.
        room = torch.empty(max(piece.nbytes for piece in pieces), dtype=torch.uint8)

        def read(piece: Piece) -> Tensor:
            weight = pieces[piece]
            target = room[: piece.nbytes].view(piece.dtype).view(weight.shape)
            fill_rectangle(target, weight, opened, begin=(0,) * len(weight.shape))
            return target.view(piece.size)

        draft = Draft(folder, world)
        with draft.step("written"):
            write(draft.path / _WEIGHTS, list(pieces), read, world=world)
        with draft.step("written"):
            if world.first:
                draft.put("meta.json", json.dumps(meta, indent=1).encode())
                for name, content in travelling.items():
                    draft.put(f"{FOLDER}/{name}", content)
        draft.publish()
    return Converted(
        architecture=architecture,
        head=head,
        tensors=len(pieces),
        nbytes=sum(piece.nbytes for piece in pieces),
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

    `dtype` as in `choose_dtype`; without `keep_head` the language model alone is written. Raises
    CheckpointError as `to_checkpoint` does.
    """
    meta = _read_meta(checkpoint)
    architecture = replace(from_dict(meta["architecture"]), name=checkpoint.resolve().name)
    stored = StoredWeights(checkpoint / _WEIGHTS)
    head = head_of(stored.tensors) if keep_head else "none"
    travelling = {
        path.name: path.read_bytes() for path in (checkpoint / FOLDER).glob("*") if path.is_file()
    }
    found = weights(architecture, vocab=architecture.vocab, head=head)
    kinds = {w.key: choose_dtype(dtype, travelling, stored=stored.tensors[w.key][1]) for w in found}
    tensors = {
        name: TensorInfo(shape=shape, dtype=kinds[w.key])
        for w in found
        for name, shape in w.sources.items()
    }
    with WeightWriter(folder, tensors, world=world, shard_bytes=shard_bytes) as writer:
        for weight in found[world.rank :: world.size]:
            whole = _read(stored, weight).to(kinds[weight.key])
            for run in weight.runs:
                piece = whole[run.target : run.target + run.rows]
                writer.write(run.name, piece, first_row=run.source)
        settings = write_settings(
            architecture,
            travelling,
            head=head,
            dtype=kinds["embedding.word_embeddings.weight"],
            tokens={name: meta[name] for name in _TOKENS if meta.get(name) is not None},
        )
        writer.finish({**travelling, "config.json": settings})
    return Converted(
        architecture=architecture,
        head=head,
        tensors=len(tensors),
        nbytes=sum(info.nbytes for info in tensors.values()),
    )


def _piece(weight: Weight, source: Source, layers: int) -> Piece:
    """A weight as a piece of the stored tensor, in which layers are stacked."""
    dtypes = {source.info(run.name).dtype for run in weight.runs}
    if len(dtypes) > 1:
        names = ", ".join(f"{run.name} is {source.info(run.name).dtype}" for run in weight.runs)
        raise CheckpointError(
            f"{source.files.folder}: {names}, but they make up one weight. Save the model in one "
            "dtype."
        )
    begin = (0,) * len(weight.shape)
    if weight.layer is None:
        shape, size = weight.shape, weight.shape
    else:
        shape, size = (layers, *weight.shape), (1, *weight.shape)
        begin = (weight.layer, *begin)
    return Piece(key=weight.key, shape=shape, begin=begin, size=size, dtype=dtypes.pop())


def _read(stored: StoredWeights, weight: Weight) -> Tensor:
    """A stored weight without its padded rows."""
    begin = (0,) * len(weight.shape)
    if weight.layer is None:
        return stored.read(weight.key, begin, weight.shape)
    return stored.read(weight.key, (weight.layer, *begin), (1, *weight.shape))[0]


def _meta(architecture: Architecture, source: Path) -> dict[str, Any]:
    """What a checkpoint says of itself; see `Policy.save`."""
    tokenizer = load_tokenizer(source)
    return {
        "architecture": identity(architecture, rows=architecture.vocab),
        "vocab_size": tokenizer.vocab_size,
        "tokenizer": tokenizer.fingerprint,
        "eos_token_id": tokenizer.eos_id,
        "pad_token_id": tokenizer.pad_id,
        "version": 0,
        "extra": {},
    }


def _read_meta(checkpoint: Path) -> Mapping[str, Any]:
    try:
        return dict(json.loads((checkpoint / "meta.json").read_text()))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{checkpoint} is no checkpoint: cannot read its meta.json: {error}. Point at a folder "
            "written by a finished save."
        ) from None
