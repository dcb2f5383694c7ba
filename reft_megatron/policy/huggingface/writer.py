"""Writing a Hugging Face folder, a piece at a time, from one process or many.

Owns the order of the work: allocate every file before anything is written, take pieces from every
rank, and have the folder published (see `policy.draft`) when it is whole.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import torch

from reft_megatron.mesh import Axis
from reft_megatron.policy.draft import MANIFEST, Draft
from reft_megatron.policy.huggingface.shard_file import ShardFile, allocate
from reft_megatron.policy.huggingface.shard_plan import (
    WEIGHT_DTYPES,
    TensorInfo,
    check_tiling,
    index_text,
    plan_shards,
)

__all__ = ["WeightWriter"]

_INDEX = "model.safetensors.index.json"
_SHARD_BYTES = 5 * 10**9


class WeightWriter:
    """A folder in the making, for a `with` block that every rank of `world` enters.

    Each element of each tensor is written once, by any rank, and then every rank calls `finish`. If
    the block fails on one rank, all of them raise the same CheckpointError and nothing is left of
    the folder; so ranks must not wait for each other inside the block but in `finish`. A process
    that is killed leaves `<folder>.partial`, which the next writer removes.
    """

    def __init__(
        self,
        folder: Path,
        tensors: Mapping[str, TensorInfo],
        *,
        world: Axis | None = None,
        shard_bytes: int = _SHARD_BYTES,
    ) -> None:
        """Plan the files: `tensors` in their order, float16, bfloat16 or float32.

        A file holds `shard_bytes` of data at most, or one larger tensor. Touches no disk.
        ValueError for another dtype.
        """
        for name, info in tensors.items():
            if info.dtype not in WEIGHT_DTYPES:
                raise ValueError(f"tensor {name} is {info.dtype}, which no weight may be")
        self._folder = folder
        self._world = world or Axis()
        self._tensors = tensors
        self._shards = {shard.file: shard for shard in plan_shards(tensors, shard_bytes)}
        self._homes = {name: s.file for s in self._shards.values() for name in s.starts}
        self._files: dict[str, ShardFile] = {}
        self._draft: Draft
        self._finishing = False

    def __enter__(self) -> WeightWriter:
        """Allocate all files; CheckpointError if the folder is taken or the disk has no room."""
        wanted = sum(shard.size for shard in self._shards.values())
        self._draft = Draft(self._folder, self._world, nbytes=wanted)
        with self._draft.step("begun"):
            if self._world.first:
                for file, shard in self._shards.items():
                    allocate(self._draft.path / file, shard)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):  # what finish() has not closed is thrown away
            self._close()
        if self._finishing or (error is not None and not isinstance(error, Exception)):
            return  # the others know already, or whoever ends the process does not wait for them
        with self._draft.step("written"):
            raise error or RuntimeError("finish() was not called")

    def write(
        self, name: str, tensor: torch.Tensor, *, first_row: int = 0, first_column: int = 0
    ) -> None:
        """Put `tensor` at its place in the tensor `name`, whose dtype it has.

        It is all of it, or rows of it, or a rectangle of a matrix, on any device. Nothing of it is
        kept, and no memory taken if it is contiguous and on the CPU. ValueError if it does not fit,
        OSError if the disk refuses it.
        """
        file = self._file(self._homes[name])
        file.put(name, tensor, row=first_row, column=first_column)

    def finish(self, files: Mapping[str, bytes]) -> None:
        """Put the folder in its place, with `files` by name beside the weights.

        Every rank calls; the main rank's `files` count. CheckpointError on every rank if one of
        them failed, or if an element was not written or was written twice.
        """
        self._finishing = True
        own = {name: p for file in self._files.values() for name, p in file.pieces.items()}
        with self._draft.step("written"):
            self._close()
        shares = self._world.gather_objects(own)
        with self._draft.step("written"):
            for name, info in self._tensors.items():
                check_tiling(name, info, [piece for s in shares for piece in s.get(name, [])])
            if self._world.first:
                self._put(files)
        self._draft.publish()

    def _close(self) -> None:
        """Close every file, whatever fails at some; OSError if anything does."""
        with contextlib.ExitStack() as closing:
            while self._files:
                closing.callback(self._files.popitem()[1].close)

    def _put(self, files: Mapping[str, bytes]) -> None:
        """Write what stands beside the weights."""
        for name, content in files.items():
            if Path(name).name != name or name in (*self._shards, _INDEX, MANIFEST, ""):
                raise ValueError(f"{name!r} cannot stand beside the weights")
            self._draft.put(name, content)
        if len(self._shards) > 1:
            self._draft.put(_INDEX, index_text(list(self._shards.values())).encode())

    def _file(self, name: str) -> ShardFile:
        if name not in self._files:
            self._files[name] = ShardFile(
                self._draft.path / name, self._shards[name], self._tensors
            )
        return self._files[name]
