"""Folders of weights in torch_dist format, read and written without a model.

Owns reading any rectangle of a stored tensor, whatever layout wrote it, and writing a folder from
pieces that are made one at a time. Neither needs a process group in a single process.

A folder holds chunks of tensors in `__<rank>_<n>.distcp`, each as torch.save leaves it; in
`.metadata` torch's list of tensors, chunks and places; in `metadata.json` the name of the format;
and in `common.pt` what belongs to no tensor. A GPT model's layers are one tensor of one more
dimension: `decoder.layers.self_attention.linear_qkv.weight` is [layers, rows, columns], in chunks
of [1, rows, columns] of one layer and one tensor rank.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from megatron.core.dist_checkpointing.core import (
    CheckpointingConfig,
    maybe_load_config,
    save_config,
)
from megatron.core.dist_checkpointing.strategies.common import COMMON_STATE_FNAME
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import (
    FileSystemReader,
    FileSystemWriter,
    _StorageInfo,
)
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import (
    ReadItem,
    SavePlan,
    TensorWriteData,
    WriteItem,
    WriteItemType,
)
from torch.distributed.checkpoint.planner_helpers import create_read_items_for_chunk_list
from torch.distributed.checkpoint.storage import WriteResult
from torch.distributed.checkpoint.utils import _create_file_view
from torch.serialization import get_crc32_options, set_crc32_options, skip_data

from reft_megatron.errors import CheckpointError
from reft_megatron.files import Flusher
from reft_megatron.mesh import Axis

__all__ = ["Piece", "StoredWeights", "write"]

_FORMAT = "torch_dist"
_STEP = 1 << 17
"""Bytes that a file is given at once. Larger writes get larger pages of the page cache, which a
busy Linux looks for up to six times as long."""
_AGAIN = "Use another checkpoint."
_UNREADABLE = (
    *(OSError, EOFError, pickle.UnpicklingError, ImportError, AttributeError),
    *(LookupError, TypeError, ValueError, RuntimeError),
)
"""What reading a damaged file may raise: pickle and zip promise nothing narrower."""


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


class StoredWeights:
    """The tensors of a folder that Megatron's `dist_checkpointing.save` or `write` wrote.

    torch keeps its list of tensors as a pickle, which can run any code when it is read: so only
    folders that are trusted.
    """

    tensors: Mapping[str, tuple[tuple[int, ...], torch.dtype]]
    """Shape and dtype of every tensor by its key; other stored objects are left out."""

    def __init__(self, folder: Path) -> None:
        """Read what `folder` lists, no weights. CheckpointError if it is no such folder."""
        self._folder = folder
        self._listed, self._places = _read_metadata(folder)
        self.tensors = {
            key: (tuple(entry.size), entry.properties.dtype) for key, entry in self._listed.items()
        }

    def read(self, key: str, begin: tuple[int, ...], size: tuple[int, ...]) -> Tensor:
        """The rectangle of shape `size` at `begin` of the tensor `key`, in its stored dtype.

        Reads its own elements alone, from one chunk after another. It is contiguous, on the CPU,
        and where possible no copy but mapped from the file; writing to it does not reach the file.
        Raises CheckpointError if there is no such rectangle, or part of it is missing or damaged.
        """
        self._check_place(key, begin, size)
        listed = self._listed[key]
        dtype = listed.properties.dtype
        rectangle = ChunkStorageMetadata(torch.Size(begin), torch.Size(size))
        items = create_read_items_for_chunk_list(key, listed, [rectangle])
        found = sum(math.prod(item.lengths) for item in items)
        if found != math.prod(size):
            raise CheckpointError(
                f"{self._folder} has {found} of the {math.prod(size)} elements of {key} at "
                f"{list(begin)} in shape {list(size)}. {_AGAIN}"
            )
        if len(items) == 1:
            part = self._part(items[0], listed)
            return torch.from_numpy(np.require(part, requirements=["C", "A", "W"])).view(dtype)
        whole = np.empty(size, f"u{dtype.itemsize}")
        for item in items:
            whole[_box(item.dest_offsets, item.lengths)] = self._part(item, listed)
        return torch.from_numpy(whole).view(dtype)

    def _check_place(self, key: str, begin: tuple[int, ...], size: tuple[int, ...]) -> None:
        if key not in self.tensors:
            raise CheckpointError(
                f"{self._folder} has no tensor {key}. Use a checkpoint of this model."
            )
        shape, _ = self.tensors[key]
        inside = len(begin) == len(size) == len(shape) and all(
            0 <= first <= first + count <= length
            for first, count, length in zip(begin, size, shape, strict=True)
        )
        if not inside:
            raise CheckpointError(
                f"{key} in {self._folder} has shape {list(shape)}, and so nothing at {list(begin)} "
                f"in shape {list(size)}. Use a checkpoint of this model."
            )

    def _part(self, item: ReadItem, listed: TensorStorageMetadata) -> NDArray[Any]:
        """The part of a chunk that `item` asks for, mapped, as unsigned numbers.

        As torch aligns no chunk in its file, and numpy can handle any address.
        """
        index = item.storage_index
        at = f"{index.fqn} at {list(index.offset or ())}"
        place = self._places.get(index)
        if place is None:
            raise CheckpointError(f"{self._folder} lists {at} but has it in no file. {_AGAIN}")
        path = self._folder / place.relative_path
        try:
            outline, first = _outline(path, place)
            width = outline.itemsize
            data = np.memmap(path, np.uint8, "c", first, (outline.untyped_storage().nbytes(),))
            strides = [step * width for step in outline.stride()]
            chunk: NDArray[Any] = np.ndarray(
                outline.shape, f"u{width}", data, outline.storage_offset() * width, strides
            )
        except _UNREADABLE as error:
            raise CheckpointError(
                f"cannot read {at} from {path}: {type(error).__name__}: {error}. {_AGAIN}"
            ) from error
        assert index.index is not None
        wanted = listed.chunks[index.index].sizes, listed.properties.dtype
        if (outline.shape, outline.dtype) != wanted:
            raise CheckpointError(
                f"{path} has {outline.dtype} {list(outline.shape)} for {at}, which is listed as "
                f"{wanted[1]} {list(wanted[0])}. {_AGAIN}"
            )
        return chunk[_box(item.storage_offsets, item.lengths)]


def write(
    folder: Path, pieces: Sequence[Piece], read: Callable[[Piece], Tensor], *, world: Axis
) -> None:
    """Write `pieces` as a folder that Megatron loads at any layout; every rank of `world` calls.

    All ranks give the same pieces, which fill their tensors without overlap (ValueError if they do
    not), and share them by bytes: `read` is called for those of this rank in their order, makes one
    at a time, and none is held once it is written. `folder` must be new or empty, and making its
    files durable is left to the caller. CheckpointError, on every rank, if it cannot be written;
    what `read` raises on one rank is raised there and is a CheckpointError on the others. The
    folder then lacks its metadata.json, without which nothing reads it.
    """
    plan, metadata = _plan(pieces)
    with _together(world), _told_of(folder):
        if world.first:
            _begin(folder)
    owners = _owners(pieces, world.size)
    mine = [
        (piece, item)
        for piece, item, owner in zip(pieces, plan.items, owners, strict=True)
        if owner == world.rank
    ]
    written: list[WriteResult] = []
    with _together(world), _told_of(folder):
        if mine:
            written = _write_file(folder / f"__{world.rank}_0.distcp", mine, read)
    results = world.gather_objects(written)
    with _together(world), _told_of(folder):
        if world.first:
            torch.save({}, folder / COMMON_STATE_FNAME)
            FileSystemWriter(folder, sync_files=False).finish(metadata, results)
            save_config(CheckpointingConfig(_FORMAT), str(folder))


def _read_metadata(
    folder: Path,
) -> tuple[dict[str, TensorStorageMetadata], dict[MetadataIndex, _StorageInfo]]:
    """torch's lists of tensors and places; CheckpointError if `folder` is no torch_dist."""
    try:
        config = maybe_load_config(str(folder))
        if config is not None and config.sharded_backend == _FORMAT:
            metadata = FileSystemReader(folder).read_metadata()
            everything = metadata.state_dict_metadata.items()
            tensors = {k: e for k, e in everything if isinstance(e, TensorStorageMetadata)}
            return tensors, dict(metadata.storage_data)
    except _UNREADABLE as error:
        raise CheckpointError(
            f"cannot read what {folder} lists: {type(error).__name__}: {error}. {_AGAIN}"
        ) from error
    seen = "no metadata.json" if config is None else f"weights in format {config.sharded_backend}"
    raise CheckpointError(
        f"{folder} has {seen}, but must be in Megatron's format {_FORMAT}. Point at the folder "
        "with the .distcp files, which is weights/ in a checkpoint."
    )


def _outline(path: Path, place: _StorageInfo) -> tuple[Tensor, int]:
    """A stored tensor with nothing in it, and at which byte of `path` its data begins."""
    with path.open("rb") as file, skip_data():
        view = cast(BinaryIO, _create_file_view(file, place.offset, place.length))
        outline = torch.load(view, map_location="cpu", weights_only=True)
        if not isinstance(outline, Tensor):
            raise TypeError(f"{type(outline).__name__} is no tensor")
        view.seek(0)
        archive: Any = torch._C.PyTorchFileReader(view)
        # torch.save gives the one storage of a tensor this name.
        return outline, place.offset + archive.get_record_offset("data/0")


def _box(begin: Sequence[int], size: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(first, first + n) for first, n in zip(begin, size, strict=True))


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


def _owners(pieces: Sequence[Piece], count: int) -> Iterator[int]:
    """Which of `count` ranks writes each piece: each a run of them, of about as many bytes.

    Neighbours stay together because they often come from one file.
    """
    total = sum(piece.nbytes for piece in pieces)
    before = 0
    for piece in pieces:
        middle = before + piece.nbytes / 2
        yield min(int(middle * count / max(total, 1)), count - 1)
        before += piece.nbytes


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
    """A file that takes no more than `_STEP` at a time."""

    def write(self, data: Any, /) -> int:
        """Write the beginning of `data`; returns how much, and BufferedWriter comes again."""
        return super().write(memoryview(data)[:_STEP])


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


@contextmanager
def _together(world: Axis) -> Iterator[None]:
    """Every rank leaves the block with an exception if one of them does."""
    failure: Exception | None = None
    try:
        yield
    except Exception as error:  # the others wait to hear of it, whatever it is
        failure = error
    bug = "" if isinstance(failure, CheckpointError) else f"{type(failure).__name__}: "
    said = world.gather_objects(f"{bug}{failure}" if failure else "")
    if failure is not None:
        raise failure
    for rank, text in enumerate(said):
        if text:
            raise CheckpointError(f"rank {rank}: {text}")
