"""A model's weights straight from a Hugging Face folder.

Owns the checks that a folder's tensors are those of an architecture, and filling what this rank
holds, piece by piece: each rank reads its own slices and no more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from reft_megatron.errors import CheckpointError
from reft_megatron.mesh import Mesh
from reft_megatron.policy.families import Architecture, family_of
from reft_megatron.policy.huggingface.mapping import HEAD_NAMES, Run, Weight, weights
from reft_megatron.policy.huggingface.reader import WeightFiles
from reft_megatron.policy.huggingface.shard_plan import TensorInfo
from reft_megatron.policy.model import PolicyModel
from reft_megatron.policy.slices import slices

__all__ = ["Source", "fill_rectangle", "load_folder"]

# What older files hold beside their weights, made anew by every library.
_BUFFERS = re.compile(r"rotary_emb\.inv_freq$|\.attn\.(masked_)?bias$")
_PREFIXES = ("", "pretrained_model.", "module.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A Hugging Face folder's tensors, checked to be those of an architecture."""

    files: WeightFiles
    """The open files."""
    names: Mapping[str, str]
    """transformers' name of each tensor to its name in the files."""
    missing: frozenset[str]
    """Megatron's names of the head's weights that the files lack."""

    @classmethod
    def check(
        cls, files: WeightFiles, architecture: Architecture, *, vocab: int, head: str
    ) -> Source:
        """`files` as the weights of `architecture`; CheckpointError, naming the tensor, if not."""
        wanted = weights(architecture, vocab=vocab, head=head)
        shapes = {name: shape for w in wanted for name, shape in w.sources.items()}
        heads = HEAD_NAMES[head]
        base = [name for name in shapes if name not in heads.values()]
        names = _match(files, base)
        for name in heads.values():
            if name in files.tensors:
                names[name] = name
        for name, shape in shapes.items():
            if name in names and files.tensors[names[name]].shape != shape:
                raise CheckpointError(
                    f"{files.folder}: {names[name]} has shape "
                    f"{list(files.tensors[names[name]].shape)}, and config.json makes it "
                    f"{list(shape)}. Files and config.json belong to different models."
                )
        _check_rest(files, set(names.values()), architecture)
        _check_tie(files, names, architecture)
        missing = {key for key, name in heads.items() if name not in names}
        if head == "rerank" and not architecture.tied:
            # A classifier is published without the output projection, and has no use for it.
            missing.add("output_layer.weight")
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

    Only a head can be lacking. Padded vocabulary rows become zero. Raises CheckpointError on every
    rank if any of them finds something wrong.
    """
    failure, missing = "", frozenset[str]()
    try:
        with WeightFiles(folder) as files:
            vocab = chunks[0].vocab.rows
            source = Source.check(files, architecture, vocab=vocab, head=head)
            missing = source.missing
            _load_chunks(chunks, source, architecture, head=head)
    except CheckpointError as error:
        failure = str(error)
    failures = [text for text in mesh.world.gather_objects(failure) if text]
    if failures:
        raise CheckpointError(failures[0])
    return missing


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


def _match(files: WeightFiles, wanted: Iterable[str]) -> dict[str, str]:
    """Each wanted name to its name in the files.

    Models saved without their head lack the leading `model.`; wrappers put one of their own before.
    """
    wanted = list(wanted)
    present = files.tensors
    best: dict[str, str] = {}
    for prefix in _PREFIXES:
        for strip in ("", "model."):
            found = {
                name: prefix + name.removeprefix(strip)
                for name in wanted
                if prefix + name.removeprefix(strip) in present
            }
            best = max(best, found, key=len)
    lacking = [name for name in wanted if name not in best]
    if lacking:
        raise CheckpointError(
            f"{files.folder} lacks {len(lacking)} of {len(wanted)} tensors that config.json makes "
            f"necessary: {', '.join(lacking[:3])}{', ...' if len(lacking) > 3 else ''}; it has "
            f"{', '.join(list(present)[:3])}, ... Files and config.json belong to different models."
        )
    return best


def _check_rest(files: WeightFiles, used: set[str], architecture: Architecture) -> None:
    """CheckpointError for a tensor that nothing would read."""
    output = family_of(architecture).stems(architecture)["output"][0] + ".weight"
    heads = {name for names in HEAD_NAMES.values() for name in names.values()}
    for name in files.tensors:
        bare = name
        for prefix in _PREFIXES[1:]:
            bare = bare.removeprefix(prefix)
        known = bare in heads or bare == output or _BUFFERS.search(name)
        if name not in used and not known:
            raise CheckpointError(
                f"{files.folder} holds {name}, for which {architecture.model_type} has no place: "
                "it would be lost. Files and config.json belong to different models."
            )


def _check_tie(files: WeightFiles, names: Mapping[str, str], architecture: Architecture) -> None:
    """CheckpointError if the model is tied and its files hold another output projection."""
    stems = family_of(architecture).stems(architecture)
    embedding = names[stems["embedding"][0] + ".weight"]
    output = stems["output"][0] + ".weight"
    if not architecture.tied or output not in files.tensors:
        return
    shapes = [files.tensors[name].shape for name in (embedding, output)]
    same = shapes[0] == shapes[1] and all(
        torch.equal(files.read(embedding, rows=part), files.read(output, rows=part))
        for part in _blocks(shapes[0][0])
    )
    if not same:
        raise CheckpointError(
            f"{files.folder}: config.json ties {output} to {embedding}, but the files hold two "
            "different tensors. Set tie_word_embeddings to false in config.json if they should be."
        )


def _blocks(rows: int) -> list[slice]:
    return [slice(start, min(start + 4096, rows)) for start in range(0, rows, 4096)]
