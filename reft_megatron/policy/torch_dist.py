"""Megatron's torch_dist format: sharded tensors by key, readable at any layout.

Owns writing such a folder from this process, telling what one holds before anything is read, and
reading it. A tensor is asked for by what the model says of its place in the whole (a
`ShardedTensor`, or a factory that makes several of one, as for the gate and up halves of a gated
MLP), so every rank reads its part, whoever wrote it.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.core import CheckpointingException
from megatron.core.dist_checkpointing.dict_utils import nested_values
from megatron.core.dist_checkpointing.mapping import ShardedTensor, ShardedTensorFactory
from megatron.core.dist_checkpointing.strategies.torch import (
    MCoreSavePlanner,
    TorchDistLoadShardedStrategy,
    TorchDistSaveShardedStrategy,
    _replace_state_dict_keys_with_sharded_keys,
    mcore_to_pyt_state_dict,
)
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict_saver import save as save_state_dict

from reft_megatron.errors import CheckpointError
from reft_megatron.mesh import Mesh

__all__ = ["BROKEN", "Part", "check", "failure_text", "failures_of", "hold_room", "read", "write"]

Part: TypeAlias = ShardedTensor | ShardedTensorFactory
"""A tensor of this rank and its place in the whole."""
_RESERVED = 1 << 20
BROKEN = (
    *(OSError, ValueError, EOFError, pickle.UnpicklingError, ImportError, AttributeError),
    CheckpointingException,
)
"""What reading an index, or any pickle of torch, may raise where it is damaged."""


def hold_room(folder: Path) -> None:
    """Make `folder` and keep room for the last file that goes into it; the main rank calls.

    There Megatron writes small files of its own, one before the tensors and one after them; if that
    failed, the other ranks would wait for ever. So a full disk must show now, as an OSError, and
    room for the second is held meanwhile.
    """
    folder.mkdir(parents=True)
    _reserve(folder).write_bytes(bytes(_RESERVED))


def write(content: dict[str, Any], folder: Path) -> None:
    """Write the sharded tensors of `content` into `folder`, which is empty; every rank calls.

    Raises OSError, RuntimeError or torch's CheckpointException, not on every rank.
    """
    dist_checkpointing.save(content, str(folder), _InProcess())


def check(
    wanted: Mapping[str, Part],
    folder: Path,
    mesh: Mesh,
    *,
    rows: int,
    optional: tuple[str, ...] = (),
    ignored: tuple[str, ...] = (),
) -> set[str]:
    """Keys of all tensors in `folder`; CheckpointError, on every rank, unless they fit `wanted`.

    They fit if every wanted tensor is there in its shape and there is none beside them. A tensor
    with padding (the vocabulary's) may have any number of rows from `rows` on. Keys that begin with
    one of `optional` may be missing, those with one of `ignored` in them may be there. Every rank
    calls with what it wants.
    """
    with mesh.world.together():
        stored = _stored(folder)
    parts = list(nested_values(_built(wanted)))
    missing = {part.key for part in parts if part.key not in stored}
    shapes = {
        f"{part.key} is {list(stored[part.key])} there and {list(part.global_shape)} here"
        for part in parts
        if part.key in stored and not _fits(part, stored[part.key], rows)
    }
    said = mesh.world.gather_objects(({part.key for part in parts}, missing, shapes))
    known: set[str] = set().union(*(entry[0] for entry in said))
    faults = {
        "it lacks": {key for entry in said for key in entry[1] if not key.startswith(optional)},
        "it has besides": {
            key for key in stored if key not in known and not any(name in key for name in ignored)
        },
        "other shapes:": {text for entry in said for text in entry[2]},
    }
    told = [f"{fault} {_listed(keys)}" for fault, keys in faults.items() if keys]
    if told:
        raise CheckpointError(
            f"{folder} does not hold this model: {'; '.join(told)}. Use the settings of the run "
            "that wrote it, or another checkpoint."
        )
    return set(stored)


def read(wanted: Mapping[str, Part], folder: Path, mesh: Mesh) -> dict[str, torch.Tensor]:
    """The `wanted` tensors, read into the memory that they come with; every rank calls.

    Raises CheckpointError, on every rank, if one of them could not read.
    """
    with mesh.world.together():
        try:
            found: dict[str, Any] = TorchDistLoadShardedStrategy().load(_built(wanted), folder)
        except (CheckpointException, OSError, RuntimeError, CheckpointingException) as error:
            text = failure_text(error, mesh.world.rank)
            raise CheckpointError(
                f"cannot read {folder}: {text}. Use another checkpoint."
            ) from None
    for name, part in wanted.items():
        if isinstance(part, ShardedTensorFactory):
            found[name] = part.merge_fn(found[name])
    return found


def failures_of(error: BaseException, rank: int) -> dict[int, BaseException]:
    """`error` of this `rank`, or those of every rank that failed where torch gathered them."""
    if isinstance(error, CheckpointException):
        return {rank: failure for rank, (failure, _) in error.failures.items()}
    return {rank: error}


def failure_text(error: BaseException, rank: int) -> str:
    """Kind and text of `failures_of`."""
    failures = failures_of(error, rank).items()
    return ", ".join(f"rank {rank}: {type(e).__name__}: {e}" for rank, e in failures)


class _InProcess(TorchDistSaveShardedStrategy):
    """Megatron's torch_dist format, written by this process.

    Megatron's own writer starts two helper processes a rank, each importing everything anew: half a
    minute for a checkpoint of a second on a small machine.
    """

    def __init__(self) -> None:
        super().__init__("torch_dist", 1)

    def save(self, sharded_state_dict: dict[str, Any], checkpoint_dir: str | Path) -> None:
        """Write the sharded tensors of `sharded_state_dict`."""
        flat, _, _ = _replace_state_dict_keys_with_sharded_keys(
            sharded_state_dict, self.keep_only_main_replica
        )
        save_state_dict(
            mcore_to_pyt_state_dict(flat, False),
            storage_writer=FileSystemWriter(checkpoint_dir),
            planner=MCoreSavePlanner(
                dedup_replicated_tensors=not self.keep_only_main_replica, flatten_state_dict=False
            ),
        )
        _reserve(Path(checkpoint_dir)).unlink(missing_ok=True)


def _reserve(folder: Path) -> Path:
    return folder.with_name(folder.name + ".reserve")


def _built(parts: Mapping[str, Part]) -> dict[str, Any]:
    """Sharded tensors by name; where a factory makes several of one, the nest of them."""
    return {
        name: part.build() if isinstance(part, ShardedTensorFactory) else part
        for name, part in parts.items()
    }


def _stored(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor in `folder` by key; CheckpointError if its index cannot be read."""
    try:
        found = dist_checkpointing.load_tensors_metadata(str(folder))
    except BROKEN as error:
        raise CheckpointError(
            f"cannot read the index of {folder}: {type(error).__name__}: {error}. Use another "
            "checkpoint."
        ) from None
    return {key: tuple(tensor.global_shape) for key, tensor in found.items()}


def _fits(part: ShardedTensor, stored: tuple[int, ...], rows: int) -> bool:
    if part.allow_shape_mismatch:
        return stored[1:] == tuple(part.global_shape)[1:] and stored[0] >= rows
    return stored == tuple(part.global_shape)


def _listed(names: set[str], limit: int = 5) -> str:
    """The first `limit` names, and how many more there are."""
    more = len(names) - limit
    return ", ".join(sorted(names)[:limit]) + (f" and {more} more" if more > 0 else "")
