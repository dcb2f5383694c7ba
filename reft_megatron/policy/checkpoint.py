"""Checkpoints: sharded, checked, and never half-written under their final name.

Owns the folder format: `weights/` and `optimizer/` (Megatron's torch_dist, readable at any layout),
`random/rank_<r>.pt` (the rank's random state, for the same layout), `huggingface/` (files that
travel with the model), `meta.json`, and the manifest of a `Draft`. Weights are also read from a
checkpoint of Megatron-LM.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from megatron.core import tensor_parallel
from megatron.core.dist_checkpointing.mapping import ShardedTensor, ShardedTensorFactory
from megatron.core.optimizer import MegatronOptimizer

from reft_megatron.errors import CheckpointError
from reft_megatron.mesh import Axis, Mesh
from reft_megatron.policy import device as devices
from reft_megatron.policy import optimizer_state, torch_dist
from reft_megatron.policy.draft import Draft, check_manifest
from reft_megatron.policy.meta import META, differing, read_meta
from reft_megatron.policy.model import HEADS, PolicyModel, unpublished
from reft_megatron.policy.origin import FOLDER

__all__ = ["WEIGHTS", "check_identity", "load", "read_checked", "same_layout", "save"]

WEIGHTS = "weights"
"""Folder of a checkpoint that holds the weights."""
_OPTIMIZER, _RANDOM = "optimizer", "random"
_HEADS = tuple(f"{name}." for name in HEADS)
"""In the keys of what a checkpoint may lack."""
_BESIDES = ("optimizer.", *_HEADS)
"""In the keys of what a checkpoint may have besides: another head, Megatron-LM's optimizer."""


def save(
    folder: Path,
    chunks: Sequence[PolicyModel],
    optimizer: MegatronOptimizer | None,
    *,
    mesh: Mesh,
    meta: dict[str, Any],
    files: Mapping[str, bytes],
) -> None:
    """Write a checkpoint to `folder`, which must not exist; every rank calls.

    `files` travel along: those of a Hugging Face folder that are no weights, by name.
    Raises CheckpointError on every rank if any of them could not write; `folder` then does not
    exist, and earlier checkpoints are untouched.
    """
    # Ranks wait for each other here, which they may not within a step.
    state = None if optimizer is None else optimizer_state.collect(chunks, optimizer, mesh)
    draft = Draft(folder, mesh.world)
    with draft.step("begun"):
        if mesh.main:
            for name in [WEIGHTS] if state is None else [WEIGHTS, _OPTIMIZER]:
                torch_dist.hold_room(draft.path / name)
            (draft.path / _RANDOM).mkdir()
    weights = {f"model{index}": chunk.sharded_state_dict() for index, chunk in enumerate(chunks)}
    with draft.step("written"):
        torch_dist.write(weights, draft.path / WEIGHTS)
    if state is not None:
        with draft.step("written"):
            torch_dist.write(state, draft.path / _OPTIMIZER)
    with draft.step("written"):
        torch.save(_random_state(), _random(draft.path, mesh))
        if mesh.main:
            draft.put(META, json.dumps(meta, indent=1).encode())
            for name, content in files.items():
                draft.put(f"{FOLDER}/{name}", content)
    draft.publish()


def read_checked(folder: Path, world: Axis, *, resume: bool) -> dict[str, Any]:
    """The `meta.json` of a complete, undamaged checkpoint; CheckpointError on every rank if not.

    Unless to `resume`, optimizer and random state may be damaged: nobody reads them.
    """
    unread = () if resume else (f"{_OPTIMIZER}/", f"{_RANDOM}/")
    check_manifest(folder, world, unread=unread)
    with world.together():
        return read_meta(folder)


def check_identity(
    folder: Path, meta: dict[str, Any], wanted: dict[str, Any], *, resume: bool
) -> None:
    """CheckpointError unless the checkpoint holds the `wanted` model (as trained, to resume)."""
    for key in ("vocab_size", "tokenizer", "architecture", *(["precision"] if resume else [])):
        saved, asked = meta.get(key), wanted[key]
        if isinstance(saved, dict) and isinstance(asked, dict):
            names = differing(saved, asked)
            saved, asked = ({name: tree.get(name) for name in names} for tree in (saved, asked))
        if saved != asked:
            raise CheckpointError(
                f"{folder} was written for {key} {saved!r}, but this run has {asked!r}. Use the "
                "settings of the run that wrote it, or another checkpoint."
            )


def same_layout(meta: dict[str, Any], identity: dict[str, Any]) -> bool:
    """True if what a checkpoint says of itself is of the layout that `identity` has.

    Earlier versions did not write `layers`: they split them evenly.
    """
    saved = meta["layout"]
    chunks = saved["pipeline"] * saved["virtual_pipeline"]
    even = [meta["architecture"]["layers"] // chunks] * chunks
    return bool({"layers": even, **saved} == identity["layout"])


@torch.no_grad()
def load(
    folder: Path,
    chunks: Sequence[PolicyModel],
    optimizer: MegatronOptimizer | None,
    *,
    mesh: Mesh,
    identity: dict[str, Any],
    resume: bool,
    with_head: bool = False,
) -> dict[str, Any]:
    """Read a checkpoint, at any layout, and return its `meta.json`; every rank calls.

    To `resume` takes the state of `optimizer`, and this rank's random state if the layout is the
    one that wrote it; otherwise the weights alone, which may be Megatron-LM's (its meta is {}).
    Raises CheckpointError on every rank, before anything is changed, for a checkpoint that is
    missing, damaged, not of this model or, to come `with_head`, without the head that this has.
    """
    foreign = None if resume else _find_megatron(folder, mesh)
    if foreign is not None:
        _load_weights(foreign, chunks, mesh, with_head=with_head)
        return {}
    meta = read_checked(folder, mesh.world, resume=resume)
    check_identity(folder, meta, identity, resume=resume)
    if not resume or optimizer is None:
        _load_weights(folder / WEIGHTS, chunks, mesh, with_head=with_head)
        return meta
    randomness = _read_random(folder, mesh) if same_layout(meta, identity) else None
    state = optimizer_state.room(chunks, optimizer, mesh)
    torch_dist.check(state, folder / _OPTIMIZER, mesh, rows=chunks[0].shard.real)
    _load_weights(folder / WEIGHTS, chunks, mesh, with_head=with_head)
    found = torch_dist.read(state, folder / _OPTIMIZER, mesh)
    optimizer_state.restore(chunks, optimizer, found, mesh=mesh)
    if randomness is not None:
        _set_random_state(randomness)
    return meta


def _find_megatron(folder: Path, mesh: Mesh) -> Path | None:
    """The torch_dist folder that Megatron-LM wrote as `folder`, or into it as the latest one.

    None if `folder` is neither; the same on every rank.
    """
    found = None
    latest = folder / "latest_checkpointed_iteration.txt"
    with mesh.world.together():
        if mesh.main and latest.is_file():
            try:
                name = latest.read_text("ascii").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise CheckpointError(
                    f"cannot read {latest}, which names Megatron-LM's last checkpoint: {error}. "
                    "Point at the folder of one iteration (iter_...) instead."
                ) from None
            found = folder / (f"iter_{int(name):07d}" if name.isdecimal() else name)
        elif mesh.main and (folder / "metadata.json").is_file():
            found = folder
    return mesh.world.broadcast_object(found)


def _load_weights(
    folder: Path, chunks: Sequence[PolicyModel], mesh: Mesh, *, with_head: bool
) -> None:
    """Read weights from a torch_dist folder. Unless `with_head`, one that it lacks stays."""
    wanted = {
        f"{index}/{name}": part
        for index, chunk in enumerate(chunks)
        for name, part in chunk.sharded_state_dict().items()
        if isinstance(part, ShardedTensor | ShardedTensorFactory)
    }
    optional = (*(() if with_head else _HEADS), *unpublished(chunks[0].head))
    stored = torch_dist.check(
        wanted, folder, mesh, rows=chunks[0].shard.real, optional=optional, ignored=_BESIDES
    )
    there = {
        name: part
        for name, part in wanted.items()
        if part.key in stored or not part.key.startswith(optional)
    }
    found = torch_dist.read(there, folder, mesh)
    for index, chunk in enumerate(chunks):
        prefix = f"{index}/"
        own = {
            name.removeprefix(prefix): tensor
            for name, tensor in found.items()
            if name.startswith(prefix)
        }
        # They were read in place; what a factory put together was not.
        chunk.load_state_dict(own, strict=False)


def _random(folder: Path, mesh: Mesh) -> Path:
    return folder / _RANDOM / f"rank_{mesh.world.rank}.pt"


def _read_random(folder: Path, mesh: Mesh) -> dict[str, Any]:
    """This rank's random state; CheckpointError on every rank if one cannot be read."""
    path = _random(folder, mesh)
    with mesh.world.together():
        try:
            # Random states must stay on the host.
            return dict(torch.load(path, map_location="cpu", weights_only=True))
        except (*torch_dist.BROKEN, RuntimeError, TypeError) as error:
            raise CheckpointError(
                f"cannot read the random state {path}: {type(error).__name__}: {error}. Use "
                "another checkpoint."
            ) from None


def _random_state() -> dict[str, Any]:
    return {
        "cpu": torch.get_rng_state(),
        "device": devices.rng_state(),
        "tracker": tensor_parallel.get_cuda_rng_tracker().get_states(),
    }


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    devices.set_rng_state(state["device"])
    tensor_parallel.get_cuda_rng_tracker().set_states(state["tracker"])
