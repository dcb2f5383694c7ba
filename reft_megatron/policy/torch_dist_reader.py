"""Reading folders of weights in torch_dist format without a model.

Owns reading any rectangle of a stored tensor, whatever layout wrote it; needs no process group.

A folder holds chunks of tensors in `__<rank>_<n>.distcp`, each as torch.save leaves it; in
`.metadata` torch's list of tensors, chunks and places; in `metadata.json` the name of the format;
and in `common.pt` what belongs to no tensor. A GPT model's layers are one tensor of one more
dimension: `decoder.layers.self_attention.linear_qkv.weight` is [layers, rows, columns], in chunks
of [1, rows, columns] of one layer and one tensor rank.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from megatron.core.dist_checkpointing.core import maybe_load_config
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemReader, _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    MetadataIndex,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import ReadItem
from torch.distributed.checkpoint.planner_helpers import create_read_items_for_chunk_list
from torch.distributed.checkpoint.utils import _create_file_view
from torch.serialization import skip_data

from reft_megatron.errors import CheckpointError

__all__ = ["FORMAT", "StoredWeights"]

FORMAT = "torch_dist"
"""What metadata.json calls this format."""
_AGAIN = "Use another checkpoint."
_UNREADABLE = (
    *(OSError, EOFError, pickle.UnpicklingError, ImportError, AttributeError),
    *(LookupError, TypeError, ValueError, RuntimeError),
)
"""What reading a damaged file may raise: pickle and zip promise nothing narrower."""


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

    def dtype(self, key: str) -> torch.dtype:
        """Dtype of the tensor `key`; CheckpointError if there is none."""
        self._check_key(key)
        return self.tensors[key][1]

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
        self._check_key(key)
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

    def _check_key(self, key: str) -> None:
        if key not in self.tensors:
            raise CheckpointError(
                f"{self._folder} has no tensor {key}. Use a checkpoint of this model."
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


def _read_metadata(
    folder: Path,
) -> tuple[dict[str, TensorStorageMetadata], dict[MetadataIndex, _StorageInfo]]:
    """torch's lists of tensors and places; CheckpointError if `folder` is no torch_dist."""
    try:
        config = maybe_load_config(str(folder))
        if config is not None and config.sharded_backend == FORMAT:
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
        f"{folder} has {seen}, but must be in Megatron's format {FORMAT}. Point at the folder "
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
