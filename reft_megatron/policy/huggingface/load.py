"""A model's weights straight from a Hugging Face folder.

Owns the checks that a folder's tensors are those of an architecture, and filling what this rank
holds, piece by piece: each rank reads its own slices and no more.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from reft_megatron.errors import CheckpointError
from reft_megatron.mesh import Axis, Mesh
from reft_megatron.policy.families import Architecture, family_of
from reft_megatron.policy.huggingface.mapping import (
    HEAD_NAMES,
    WRAPPERS,
    Run,
    Weight,
    find_name,
    weights,
)
from reft_megatron.policy.huggingface.reader import WeightFiles
from reft_megatron.policy.huggingface.shard_plan import TensorInfo
from reft_megatron.policy.model import PolicyModel, unpublished
from reft_megatron.policy.slices import slices

__all__ = ["Source", "fill_rectangle", "load_folder"]

# What older files hold beside their weights, made anew by every library.
_BUFFERS = re.compile(r"rotary_emb\.inv_freq$|(^|\.)decoder\.version$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A Hugging Face folder's tensors, checked to be those of an architecture."""

    files: WeightFiles
    """The open files."""
    names: Mapping[str, str]
    """transformers' name of each tensor to its name in the files."""
    missing: frozenset[str]
    """Megatron's names of what the files lack: a head's weights, what is not published with it."""

    @classmethod
    def check(
        cls,
        files: WeightFiles,
        architecture: Architecture,
        *,
        vocab: int,
        head: str,
        world: Axis,
    ) -> Source:
        """`files` as the weights of `architecture`; CheckpointError, naming the tensor, if not.

        Ranks of `world` share what has to be read for it, so any of them may be the one to raise.
        """
        wanted = weights(architecture, vocab=vocab, head=head)
        shapes = {name: shape for w in wanted for name, shape in w.sources.items()}
        heads = HEAD_NAMES[head]
        output = _output(architecture)
        names = _match(files, shapes, loose={*heads.values(), output}, lacking=heads.values())
        for name, shape in shapes.items():
            if name in names and files.tensors[names[name]].shape != shape:
                raise CheckpointError(
                    f"{files.folder}: {names[name]} has shape "
                    f"{list(files.tensors[names[name]].shape)}, and config.json makes it "
                    f"{list(shape)}. Files and config.json belong to different models."
                )
        _check_rest(files, names, architecture)
        _check_tie(files, names, architecture, world=world)
        missing = {key for key, name in heads.items() if name not in names}
        if missing and len(missing) < len(heads):
            raise CheckpointError(
                f"{files.folder} has a {head} head without {', '.join(heads[k] for k in missing)}. "
                "Save the head whole, or leave all of it out."
            )
        if not architecture.tied:
            missing |= unpublished(head)
        return cls(files=files, names=names, missing=frozenset(missing))

    def info(self, name: str) -> TensorInfo:
        """What the files say of transformers' tensor `name`."""
        return self.files.tensors[self.names[name]]

    def read_into(self, run: Run, out: Tensor, *, rows: slice, columns: slice | None) -> None:
        """`rows` of a run, counted in the Hugging Face tensor."""
        self.files.read_into(self.names[run.name], out, rows=rows, columns=columns)


@torch.no_grad()
def load_folder(
    folder: Path,
    chunks: Sequence[PolicyModel],
    architecture: Architecture,
    *,
    head: str,
    mesh: Mesh,
) -> frozenset[str]:
    """Fill the weights of `chunks` from `folder`; returns Megatron's names of those it lacks.

    Only a head can be lacking, and what is not published with one. Padded vocabulary rows become
    zero. Raises CheckpointError on every rank if any of them finds something wrong.
    """
    with mesh.world.together(), WeightFiles(folder) as files:
        vocab = chunks[0].vocab.rows
        source = Source.check(files, architecture, vocab=vocab, head=head, world=mesh.world)
        _load_chunks(chunks, source, architecture, head=head)
    return source.missing


def _load_chunks(
    chunks: Sequence[PolicyModel], source: Source, architecture: Architecture, *, head: str
) -> None:
    vocab = chunks[0].vocab.rows
    wanted = {(w.key, w.layer): w for w in weights(architecture, vocab=vocab, head=head)}
    for chunk in chunks:
        for part in slices(chunk):
            if part.key not in source.missing:
                fill_rectangle(part.data, wanted[part.key, part.layer], source, begin=part.begin)


def fill_rectangle(
    target: Tensor, weight: Weight, source: Source, *, begin: tuple[int, ...]
) -> None:
    """Put the rectangle of `weight` that starts at `begin` into `target`, zeros past its end."""
    columns = slice(begin[1], begin[1] + target.shape[1]) if len(begin) > 1 else None
    if columns is not None and (columns.start, columns.stop) == (0, weight.shape[1]):
        columns = None
    first, last = begin[0], begin[0] + len(target)
    if last > weight.shape[0]:
        target[max(0, weight.shape[0] - first) :] = 0
    for run in weight.runs:
        low, high = max(run.target, first), min(run.target + run.rows, last)
        if low < high:
            shift = run.source - run.target
            rows = slice(low + shift, high + shift)
            source.read_into(run, target[low - first : high - first], rows=rows, columns=columns)


def _match(
    files: WeightFiles, wanted: Collection[str], *, loose: Set[str], lacking: Collection[str]
) -> dict[str, str]:
    """Each `wanted` name to its name in the files; CheckpointError if more than `lacking` lack.

    Models saved without their head lack the leading `model.`; wrappers put one of their own before,
    though not always before `loose` names.
    """
    present = files.tensors
    best: dict[str, str] = {}
    outer = ""
    for prefix in WRAPPERS:
        for strip in ("", "model."):
            found = {
                name: prefix + name.removeprefix(strip)
                for name in wanted
                if name not in loose and prefix + name.removeprefix(strip) in present
            }
            if len(found) > len(best):
                best, outer = found, prefix
    for name in (name for name in wanted if name in loose):
        where = find_name(name, present, prefix=outer)
        best |= {name: where} if where else {}
    necessary = [name for name in wanted if name not in lacking]
    absent = [name for name in necessary if name not in best]
    if absent:
        raise CheckpointError(
            f"{files.folder} lacks {len(absent)} of {len(necessary)} tensors that config.json "
            f"makes necessary: {', '.join(absent[:3])}{', ...' if len(absent) > 3 else ''}; it has "
            f"{', '.join(list(present)[:3])}, ... Files and config.json belong to different models."
        )
    return best


def _check_rest(files: WeightFiles, names: Mapping[str, str], architecture: Architecture) -> None:
    """CheckpointError for a tensor that nothing would read."""
    heads = {name for pairs in HEAD_NAMES.values() for name in pairs.values()}
    # What is not asked for may be left; of what is asked for, a second copy would be lost.
    left = (heads | {_output(architecture)}) - names.keys()
    known = {prefix + name for prefix in WRAPPERS for name in left} | set(names.values())
    for name in files.tensors:
        if name not in known and not _BUFFERS.search(name):
            raise CheckpointError(
                f"{files.folder} holds {name}, for which {architecture.model_type} has no place: "
                "it would be lost. Files and config.json belong to different models."
            )


def _check_tie(
    files: WeightFiles, names: Mapping[str, str], architecture: Architecture, *, world: Axis
) -> None:
    """CheckpointError if the model is tied and its files hold another output projection.

    Each rank compares its share of the rows.
    """
    embedding = names[family_of(architecture).STEMS["embedding"][0] + ".weight"]
    copies = [p + _output(architecture) for p in WRAPPERS]
    for output in copies if architecture.tied else []:
        if output in files.tensors and not _same(files, embedding, output, world=world):
            raise CheckpointError(
                f"{files.folder}: config.json ties {output} to {embedding}, but the files hold two "
                "different tensors. Set tie_word_embeddings to false in config.json if they should "
                "be."
            )


def _same(files: WeightFiles, first: str, second: str, *, world: Axis) -> bool:
    """True if this rank's share of both has the same bits, those of NaN included."""
    one, other = files.tensors[first], files.tensors[second]
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    blocks = [slice(row, min(row + 4096, one.rows)) for row in range(0, one.rows, 4096)]
    return all(
        torch.equal(*(files.read(name, rows=rows).view(torch.uint8) for name in (first, second)))
        for rows in blocks[world.rank :: world.size]
    )


def _output(architecture: Architecture) -> str:
    """transformers' name of the output projection."""
    return str(family_of(architecture).STEMS["output"][0]) + ".weight"
