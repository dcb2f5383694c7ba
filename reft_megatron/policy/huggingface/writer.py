"""Writing a Hugging Face folder, a piece at a time, from one process or many.

Owns the order of the work: refuse what cannot end well before anything is written, allocate every
file, take pieces from every rank, and put the folder in its place only when it is whole, durable
and has its checksums. Until then it stands beside its place as `<folder>.partial`.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar, cast

import torch

from reft_megatron.errors import CheckpointError
from reft_megatron.files import sync, write_whole
from reft_megatron.mesh import Axis
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

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Share:
    """What one rank wrote."""

    pieces: dict[str, list[Piece]]
    """Its rectangles of each tensor it wrote to."""
    hashed: dict[str, int]
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
        self._partial = self._folder.with_name(self._folder.name + ".partial")
        self._world = world or Axis()
        self._tensors = tensors
        self._shards = {shard.file: shard for shard in plan_shards(tensors, shard_bytes)}
        self._homes = {name: s.file for s in self._shards.values() for name in s.starts}
        self._files: dict[str, ShardFile] = {}
        self._jobs: list[Future[None]] = []
        self._hasher: ThreadPoolExecutor
        self._over = False

    def __enter__(self) -> WeightWriter:
        """Allocate all files; CheckpointError if the folder is taken or the disk has no room."""
        self._hasher = ThreadPoolExecutor(1)
        self._together(self._prepare if self._world.first else lambda: None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._over:
            return
        if error is not None and not isinstance(error, Exception):
            self._close()  # whoever ends the process does not wait for the other ranks
            return

        def fail() -> None:
            raise error or RuntimeError("finish() was not called")

        self._together(fail)

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
        shares = self._together(self._settle)
        digests = self._together(lambda: self._digests(shares))
        known = {file: digest for part in digests for file, digest in part.items()}
        self._together(lambda: self._publish(files, known) if self._world.first else None)
        self._over = True
        self._close()

    def _prepare(self) -> None:
        empty = self._folder.is_dir() and not any(self._folder.iterdir())
        if self._folder.exists() and not empty:
            raise CheckpointError(
                f"{self._folder} exists and is not an empty folder. Choose another one, or remove "
                "it first."
            )
        if self._partial.exists():
            shutil.rmtree(self._partial)
        self._partial.mkdir(parents=True)
        wanted = sum(shard.size for shard in self._shards.values())
        free = shutil.disk_usage(self._partial).free
        try:
            if wanted > free:
                raise OSError("the disk is too small")
            for file, shard in self._shards.items():
                allocate(self._partial / file, shard)
        except OSError as error:
            raise CheckpointError(
                f"there is no room for {self._folder}: {wanted} bytes are wanted and {free} are "
                f"free ({error}). Free disk space or choose another folder."
            ) from error

    def _settle(self) -> _Share:
        """Make this rank's writing durable."""
        for file in self._files.values():
            file.sync()
        for job in self._jobs:
            job.result()
        return _Share(
            pieces={
                name: done for file in self._files.values() for name, done in file.pieces.items()
            },
            hashed={name: file.hashed for name, file in self._files.items()},
        )

    def _digests(self, shares: list[_Share]) -> dict[str, str]:
        """Digests of this rank's files; ValueError unless all shares make a whole."""
        for name, info in self._tensors.items():
            check_tiling(name, info, [p for share in shares for p in share.pieces.get(name, [])])
        ranks, mine = range(self._world.size), {}
        for index, name in enumerate(self._shards):
            # The rank that has read the most of it; those that have read as much take turns.
            turns = [*ranks[index % len(ranks) :], *ranks[: index % len(ranks)]]
            if self._world.rank == max(turns, key=lambda rank: shares[rank].hashed.get(name, 0)):
                mine[name] = self._file(name).hash_all()
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
            write_whole(self._partial / name, data)
        self._partial.rename(self._folder)
        sync(self._folder.parent)

    def _file(self, name: str) -> ShardFile:
        if name not in self._files:
            self._files[name] = ShardFile(self._partial / name, self._shards[name], self._tensors)
        return self._files[name]

    def _together(self, step: Callable[[], T]) -> list[T]:
        """What `step` gave on every rank; CheckpointError on all, and no folder, if one failed."""
        mine, failure, cause = None, "", None
        try:
            mine = step()
        except Exception as error:
            failure, cause = self._told(error), error
        given = self._world.gather_objects((mine, failure))
        failures = [text for _, text in given if text]
        if failures:
            self._over = True
            self._close()
            self._world.barrier()
            if self._world.first:
                shutil.rmtree(self._partial, ignore_errors=True)
            raise CheckpointError(failures[0]) from cause
        return [cast(T, item) for item, _ in given]

    def _told(self, error: Exception) -> str:
        if isinstance(error, CheckpointError):
            return str(error)
        return (
            f"{self._folder} was not written; rank {self._world.rank} met {error!r}. Nothing is "
            "left of it; free disk space or choose another folder."
        )

    def _close(self) -> None:
        self._hasher.shutdown(cancel_futures=True)
        for file in self._files.values():
            file.close()
        self._files.clear()
