"""Writing a Hugging Face folder, a piece at a time, from one process or many.

Owns the order of the work: allocate every file before anything is written, take pieces from every
rank, and put the folder in its place (see `policy.draft`) when it is whole, durable and has its
checksums.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import torch

from reft_megatron.errors import CheckpointError
from reft_megatron.files import sync, write_whole
from reft_megatron.mesh import Axis
from reft_megatron.policy.draft import Draft
from reft_megatron.policy.huggingface.plan import (
    WEIGHT_DTYPES,
    Piece,
    TensorInfo,
    check_tiling,
    index_text,
    plan_shards,
)
from reft_megatron.policy.huggingface.shard_file import ShardFile, allocate

__all__ = ["CHECKSUMS", "WeightWriter"]

CHECKSUMS = "SHA256SUMS"
"""Name of the file of checksums; `sha256sum -c` reads it."""
_INDEX = "model.safetensors.index.json"
_SHARD_BYTES = 5 * 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class _Share:
    """What one rank wrote."""

    pieces: dict[str, list[Piece]] = field(default_factory=dict)
    """Its rectangles of each tensor it wrote to."""
    hashed: dict[str, int] = field(default_factory=dict)
    """Bytes that its digest has seen of each file it wrote to."""


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
        self._folder = folder.resolve()
        self._world = world or Axis()
        self._tensors = tensors
        self._shards = {shard.file: shard for shard in plan_shards(tensors, shard_bytes)}
        self._homes = {name: s.file for s in self._shards.values() for name in s.starts}
        self._files: dict[str, ShardFile] = {}
        self._jobs: list[Future[None]] = []
        self._draft: Draft
        self._hasher: ThreadPoolExecutor
        self._finishing = False

    def __enter__(self) -> WeightWriter:
        """Allocate all files; CheckpointError if the folder is taken or the disk has no room."""
        self._draft = Draft(self._folder, self._world)
        with self._draft.step("begun"):
            if self._world.first:
                self._allocate()
        self._hasher = ThreadPoolExecutor(1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hasher.shutdown(cancel_futures=True)
        for file in self._files.values():
            file.close()
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
        self._jobs.append(self._hasher.submit(file.hash_ready))

    def finish(self, files: Mapping[str, bytes]) -> None:
        """Put the folder in its place, with `files` by name beside the weights.

        Every rank calls; the main rank's `files` count. CheckpointError on every rank if one of
        them failed, or if an element was not written or was written twice.
        """
        self._finishing = True
        share, mine = _Share(), dict[str, str]()
        with self._draft.step("written"):
            share = self._settle()
        shares = self._world.gather_objects(share)
        with self._draft.step("read back"):
            for name, info in self._tensors.items():
                pieces = [piece for share in shares for piece in share.pieces.get(name, [])]
                check_tiling(name, info, pieces)
            mine = {name: self._file(name).hash_all() for name in self._to_hash(shares)}
        digests = self._world.gather_objects(mine)
        with self._draft.step("published"):
            if self._world.first:
                known = {name: digest for part in digests for name, digest in part.items()}
                self._publish(files, known)

    def _allocate(self) -> None:
        """Take all the room that is wanted; CheckpointError if there is less."""
        wanted = sum(shard.size for shard in self._shards.values())
        free = shutil.disk_usage(self._draft.path).free
        try:
            if wanted > free:
                raise OSError("the disk is too small")
            for file, shard in self._shards.items():
                allocate(self._draft.path / file, shard)
        except OSError as error:
            raise CheckpointError(
                f"{wanted} bytes are wanted and {free} are free: {error}"
            ) from error

    def _settle(self) -> _Share:
        """Make this rank's writing durable."""
        for file in self._files.values():
            file.sync()
        for job in self._jobs:
            job.result()
        return _Share(
            pieces={name: p for file in self._files.values() for name, p in file.pieces.items()},
            hashed={name: file.hashed for name, file in self._files.items()},
        )

    def _to_hash(self, shares: Sequence[_Share]) -> list[str]:
        """Files whose digest falls to this rank, because it has read the most of them already."""
        ranks, mine = range(len(shares)), []
        for index, name in enumerate(self._shards):
            # Ranks that have read equally much take turns.
            turns = sorted(ranks, key=lambda rank: (rank - index) % len(ranks))
            if self._world.rank == max(turns, key=lambda rank: shares[rank].hashed.get(name, 0)):
                mine.append(name)
        return mine

    def _publish(self, files: Mapping[str, bytes], digests: Mapping[str, str]) -> None:
        beside = dict(files)
        for name in beside:
            if Path(name).name != name or name in (*self._shards, _INDEX, CHECKSUMS, ""):
                raise ValueError(f"{name!r} cannot stand beside the weights")
        if len(self._shards) > 1:
            beside[_INDEX] = index_text(list(self._shards.values())).encode()
        sums = {**digests, **{n: hashlib.sha256(data).hexdigest() for n, data in beside.items()}}
        beside[CHECKSUMS] = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()
        for name, data in beside.items():
            write_whole(self._draft.path / name, data)
        self._draft.path.rename(self._folder)
        sync(self._folder.parent)

    def _file(self, name: str) -> ShardFile:
        if name not in self._files:
            self._files[name] = ShardFile(
                self._draft.path / name, self._shards[name], self._tensors
            )
        return self._files[name]
