"""Writing folders of weights in torch_dist format without a model.

Owns a folder that Megatron loads at any layout, made from pieces that come one at a time, by one
process or several that share them. Needs no process group in a single process.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from megatron.core.dist_checkpointing.core import CheckpointingConfig, save_config
from megatron.core.dist_checkpointing.strategies.common import COMMON_STATE_FNAME
from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemWriter, _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
)
from torch.distributed.checkpoint.planner import (
    SavePlan,
    TensorWriteData,
    WriteItem,
    WriteItemType,
)
from torch.distributed.checkpoint.storage import WriteResult
from torch.serialization import get_crc32_options, set_crc32_options

from reft_megatron.errors import CheckpointError
from reft_megatron.files import WRITE_BYTES, Flusher
from reft_megatron.mesh import Axis
from reft_megatron.policy.torch_dist_reader import FORMAT

__all__ = ["Piece", "write"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A rectangle of a tensor, and what is known of the tensor."""

    key: str
    """The tensor's name in the folder."""
    shape: tuple[int, ...]
    """The whole tensor's shape."""
    begin: tuple[int, ...]
    """The rectangle's first element."""
    size: tuple[int, ...]
    """The rectangle's shape, as long as `shape`."""
    dtype: torch.dtype
    """The tensor's dtype."""

    @property
    def nbytes(self) -> int:
        """Bytes of the rectangle."""
        return math.prod(self.size) * self.dtype.itemsize


def write(
    folder: Path, pieces: Sequence[Piece], read: Callable[[Piece], Tensor], *, world: Axis
) -> None:
    """Write `pieces` as a folder that Megatron loads at any layout; every rank of `world` calls.

    All ranks give the same pieces, which fill their tensors without overlap (ValueError if they do
    not), and share them by bytes: `read` is called for those of this rank in their order, makes one
    at a time, and none is held once it is written. `folder` must be new or empty, and making its
    files durable is left to the caller. CheckpointError, on every rank, if it cannot be written;
    what `read` raises is raised as by `Axis.together`. The folder then lacks its metadata.json,
    without which nothing reads it.
    """
    plan, metadata = _plan(pieces)
    with world.together(), _told_of(folder):
        if world.first:
            _begin(folder)
    work = list(zip(pieces, plan.items, strict=True))
    mine = world.share(work, lambda pair: pair[0].nbytes)
    written: list[WriteResult] = []
    with world.together(), _told_of(folder):
        if mine:
            written = _write_file(folder / f"__{world.rank}_0.distcp", mine, read)
    results = world.gather_objects(written)
    with world.together(), _told_of(folder):
        if world.first:
            torch.save({}, folder / COMMON_STATE_FNAME)
            FileSystemWriter(folder, sync_files=False).finish(metadata, results)
            save_config(CheckpointingConfig(FORMAT), str(folder))


def _plan(pieces: Sequence[Piece]) -> tuple[SavePlan, Metadata]:
    """torch's plan, one item a piece, and its list of tensors; ValueError if pieces do not fit."""
    tensors: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}
    filled: dict[str, int] = {}
    for piece in pieces:
        kind = piece.shape, piece.dtype
        if tensors.setdefault(piece.key, kind) != kind:
            raise ValueError(f"{piece.key} is both {tensors[piece.key]} and {kind}")
        filled[piece.key] = filled.get(piece.key, 0) + math.prod(piece.size)
    for key, (shape, _) in tensors.items():
        if filled[key] != math.prod(shape):
            raise ValueError(f"pieces fill {filled[key]} of {math.prod(shape)} elements of {key}")
    # It refuses pieces that overlap or stick out.
    planner = DefaultSavePlanner(flatten_state_dict=False)
    plans, metadata = planner.create_global_plan([SavePlan([_item(piece) for piece in pieces])])
    return plans[0], metadata


def _item(piece: Piece) -> WriteItem:
    begin = torch.Size(piece.begin)
    data = TensorWriteData(
        chunk=ChunkStorageMetadata(begin, torch.Size(piece.size)),
        properties=TensorProperties(dtype=piece.dtype),
        size=torch.Size(piece.shape),
    )
    return WriteItem(MetadataIndex(piece.key, begin), WriteItemType.SHARD, tensor_data=data)


def _begin(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise CheckpointError(f"{folder} is not empty. Choose a new folder.")


def _write_file(
    path: Path, work: Sequence[tuple[Piece, WriteItem]], read: Callable[[Piece], Tensor]
) -> list[WriteResult]:
    """Write pieces one after another into a file; returns where each stands.

    FileSystemWriter would do the same but keeps every tensor until its file is whole.
    """
    written = []
    with (
        _without_crc(),
        io.BufferedWriter(_Steps(path, "w")) as file,
        closing(Flusher(file.fileno())) as flusher,
    ):
        for piece, item in work:
            begin = file.tell()
            _append(file, _checked(piece, read(piece)))
            length = file.tell() - begin
            flusher.wrote(length)
            place = _StorageInfo(path.name, begin, length)
            written.append(WriteResult(item.index, length, place))
    return written


class _Steps(io.FileIO):
    """A file that takes no more than `WRITE_BYTES` at a time."""

    def write(self, data: Any, /) -> int:
        """Write the beginning of `data`; returns how much, and BufferedWriter comes again."""
        return super().write(memoryview(data)[:WRITE_BYTES])


def _append(file: BinaryIO, tensor: Tensor) -> None:
    # torch.save writes a tensor's whole storage, which may be all of the file that it was read
    # from. So it gets a storage of the tensor's own bytes, without a copy.
    tensor = tensor.detach().cpu().contiguous()
    begin = tensor.storage_offset() * tensor.itemsize
    storage = tensor.untyped_storage()[begin : begin + tensor.nbytes]
    alone = torch.empty(0, dtype=tensor.dtype).set_(storage, 0, tensor.shape, tensor.stride())
    try:
        torch.save(alone, file)
    except RuntimeError as error:  # how its zip writer tells of a full disk
        raise OSError(str(error)) from error


def _checked(piece: Piece, tensor: Tensor) -> Tensor:
    if (tensor.shape, tensor.dtype) != (piece.size, piece.dtype):
        raise ValueError(
            f"{piece.key} at {list(piece.begin)} must be {piece.dtype} {list(piece.size)}, not "
            f"{tensor.dtype} {list(tensor.shape)}"
        )
    return tensor


@contextmanager
def _without_crc() -> Iterator[None]:
    """torch.save without the checksums of zip, which take it half its time; torch reads none."""
    before = get_crc32_options()
    set_crc32_options(False)
    try:
        yield
    finally:
        set_crc32_options(before)


@contextmanager
def _told_of(folder: Path) -> Iterator[None]:
    """OSError as a CheckpointError that says what to do."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"{folder} could not be written: {error}. Free disk space or choose another folder."
        ) from error
