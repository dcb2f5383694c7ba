"""Checkpoints: sharded, checked, and never half-written under their final name.

Owns the folder format: `weights/` (Megatron's distributed checkpoint, readable at any layout),
`state/rank_<r>.pt` (the rank's share of the optimizer and its random state, bit for bit, for the
same layout), `meta.json`, and `manifest.json` with the size and SHA-256 of every file, written
last. All of it is made in a folder of a temporary name that is then renamed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from megatron.core import dist_checkpointing, tensor_parallel
from megatron.core.dist_checkpointing.strategies.torch import (
    MCoreSavePlanner,
    TorchDistSaveShardedStrategy,
    _replace_state_dict_keys_with_sharded_keys,
    mcore_to_pyt_state_dict,
)
from megatron.core.optimizer import MegatronOptimizer
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict_saver import save as save_state_dict

from reft_megatron.errors import CheckpointError
from reft_megatron.files import sync, write_whole
from reft_megatron.mesh import Mesh
from reft_megatron.policy import device as devices
from reft_megatron.policy.model import PolicyModel

__all__ = ["check_identity", "load", "read_meta", "save"]

_MANIFEST = "manifest.json"
_RESERVE = "reserve"
_RESERVED = 1 << 20


def save(
    folder: Path,
    chunks: Sequence[PolicyModel],
    optimizer: MegatronOptimizer | None,
    *,
    mesh: Mesh,
    meta: dict[str, Any],
) -> None:
    """Write a checkpoint to `folder`, which must not exist; every rank calls.

    Raises CheckpointError on every rank if any of them could not write; `folder` then does not
    exist, and earlier checkpoints are untouched.
    """
    partial = folder.with_name(folder.name + ".partial")
    _agree(_prepare(partial) if mesh.main else "", partial, mesh, what="begun")
    failure = ""
    try:
        dist_checkpointing.save(_weights(chunks), str(partial / "weights"), _InProcess())
        state = {"rng": _rng_state(), "optimizer": _optimizer_state(optimizer)}
        torch.save(state, partial / "state" / f"rank_{mesh.world.rank}.pt")
        if mesh.main:
            (partial / "meta.json").write_text(json.dumps(meta, indent=1, default=str))
    except CheckpointException as error:
        # torch's, which every rank gets if one of them could not write its weights.
        failure = ", ".join(f"rank {rank}: {e}" for rank, (e, _) in error.failures.items())
    except (OSError, RuntimeError, dist_checkpointing.core.CheckpointingException) as error:
        failure = f"rank {mesh.world.rank}: {error}"
    _agree(failure, partial, mesh, what="written")
    digests, failure = _digests(partial, mesh)
    _agree(failure, partial, mesh, what="read back")
    if mesh.main:
        failure = _publish(partial, folder, digests)
    _agree(failure, partial, mesh, what="published")


def read_meta(folder: Path, mesh: Mesh) -> dict[str, Any]:
    """The `meta.json` of a complete, undamaged checkpoint; CheckpointError on every rank if not."""
    failure = ""
    manifest: dict[str, list[Any]] = {}
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())["files"]
    except (OSError, ValueError, KeyError):
        failure = (
            f"{folder} is not a complete checkpoint: it has no readable {_MANIFEST}. "
            "Point at a folder written by a finished save."
        )
    names = sorted(manifest)
    for name in names[mesh.world.rank :: mesh.world.size]:
        try:
            if _digest(folder / name) != manifest[name]:
                failure = f"{folder} is damaged: {name} differs from its checksum. Use another one."
        except FileNotFoundError:
            failure = f"{folder} is damaged: {name} is missing. Use another checkpoint."
        except OSError as error:
            failure = f"cannot read {folder / name}: {error.strerror}. Use another checkpoint."
    failures = [text for text in mesh.world.gather_objects(failure) if text]
    if failures:
        raise CheckpointError(failures[0])
    return json.loads((folder / "meta.json").read_text())


def check_identity(
    folder: Path, meta: dict[str, Any], wanted: dict[str, Any], *, same_layout: bool
) -> None:
    """CheckpointError unless the checkpoint holds the `wanted` model (and layout, if asked)."""
    keys = ["architecture", "vocab_size", "tokenizer", *(["layout"] if same_layout else [])]
    for key in keys:
        if meta[key] != wanted[key]:
            raise CheckpointError(
                f"{folder} was written for {key} {meta[key]!r}, but this run has "
                f"{wanted[key]!r}. Use the settings of the run that wrote it, or another "
                "checkpoint."
            )


@torch.no_grad()
def load(
    folder: Path,
    chunks: Sequence[PolicyModel],
    optimizer: MegatronOptimizer | None,
    *,
    mesh: Mesh,
) -> None:
    """Read weights, and with `optimizer` its state and this rank's random state too."""
    weights = dist_checkpointing.load(_weights(chunks), str(folder / "weights"))
    for index, chunk in enumerate(chunks):
        chunk.load_state_dict(weights[f"model{index}"])
    if optimizer is not None:
        path = folder / "state" / f"rank_{mesh.world.rank}.pt"
        # Random states must stay on the host; the optimizer moves what belongs on its device.
        state = torch.load(path, map_location="cpu", weights_only=True)
        _load_optimizer_state(optimizer, state["optimizer"])
        _set_rng_state(state["rng"])


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
        (Path(checkpoint_dir).parent / _RESERVE).unlink(missing_ok=True)


def _prepare(partial: Path) -> str:
    """Make the folder to write into; returns what went wrong, or nothing.

    On the main rank Megatron writes small files of its own, one before the weights and one after
    them; if that failed, the other ranks would wait for ever. So a full disk must show earlier, and
    room for the second is held meanwhile.
    """
    try:
        shutil.rmtree(partial, ignore_errors=True)
        (partial / "weights").mkdir(parents=True)
        (partial / "state").mkdir()
        (partial / _RESERVE).write_bytes(bytes(_RESERVED))
    except OSError as error:
        return str(error)
    return ""


def _weights(chunks: Sequence[PolicyModel]) -> dict[str, Any]:
    return {f"model{index}": chunk.sharded_state_dict() for index, chunk in enumerate(chunks)}


def _optimizer_state(optimizer: MegatronOptimizer | None) -> dict[str, Any]:
    """Moments, step counts and fp32 masters of this rank's share."""
    if optimizer is None:
        return {}
    inner = optimizer.optimizer
    masters = [p.detach() for group in inner.param_groups for p in group["params"]]
    return {"masters": masters, "inner": inner.state_dict()}


def _load_optimizer_state(optimizer: MegatronOptimizer, state: dict[str, Any]) -> None:
    inner = optimizer.optimizer
    inner.load_state_dict(state["inner"])
    masters = [p for group in inner.param_groups for p in group["params"]]
    for master, saved in zip(masters, state["masters"], strict=True):
        master.copy_(saved)


def _rng_state() -> dict[str, Any]:
    return {
        "cpu": torch.get_rng_state(),
        "device": devices.rng_state(),
        "tracker": tensor_parallel.get_cuda_rng_tracker().get_states(),
    }


def _set_rng_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    devices.set_rng_state(state["device"])
    tensor_parallel.get_cuda_rng_tracker().set_states(state["tracker"])


def _agree(failure: str, partial: Path, mesh: Mesh, *, what: str) -> None:
    """Raise on every rank if any of them failed, with the partial folder removed."""
    failures = [text for text in mesh.world.gather_objects(failure) if text]
    if failures:
        if mesh.main:
            shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(
            f"the checkpoint could not be {what}: {failures[0]}. Earlier checkpoints are "
            "untouched; free disk space or choose another run.dir."
        )


def _digests(partial: Path, mesh: Mesh) -> tuple[dict[str, list[Any]], str]:
    """{relative name: [size, SHA-256]} of every file, now durable; and what went wrong here.

    Ranks share the reading. The main rank's list counts: on a network file system another node may
    not see all names yet.
    """
    found = sorted(str(p.relative_to(partial)) for p in partial.rglob("*") if p.is_file())
    names = mesh.world.broadcast_object(found)
    mine, failure = {}, ""
    try:
        for name in names[mesh.world.rank :: mesh.world.size]:
            mine[name] = _digest(partial / name)
            sync(partial / name)
    except OSError as error:
        failure = f"rank {mesh.world.rank}: {error}"
    parts = mesh.world.gather_objects(mine)
    return {name: entry for part in parts for name, entry in part.items()}, failure


def _publish(partial: Path, folder: Path, digests: dict[str, list[Any]]) -> str:
    """Write the manifest and rename; returns what went wrong, or nothing."""
    try:
        for inner in ("weights", "state"):
            sync(partial / inner)
        write_whole(partial / _MANIFEST, json.dumps({"files": digests}, indent=1))
        partial.rename(folder)
        sync(folder.parent)
    except OSError as error:
        return str(error)
    return ""


def _digest(path: Path) -> list[Any]:
    """[size, SHA-256] of a file."""
    with path.open("rb") as file:
        return [path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()]
