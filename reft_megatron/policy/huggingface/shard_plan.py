"""The plan of a Hugging Face folder: which tensor is where in which file.

Owns what is known of a tensor without its data, and the headers of safetensors. Reads and writes
nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

__all__ = [
    "DTYPES",
    "WEIGHT_DTYPES",
    "Piece",
    "Shard",
    "TensorInfo",
    "check_tiling",
    "index_text",
    "plan_shards",
]

Piece = tuple[int, int, int, int]
"""A rectangle of a tensor: first row, end row, first column, end column."""

DTYPES = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
    "BOOL": torch.bool,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "U8": torch.uint8,
    "U16": torch.uint16,
    "U32": torch.uint32,
    "U64": torch.uint64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": torch.float8_e8m0fnu,
}
"""The dtypes of safetensors that torch has whole elements of, by their name in a header."""
WEIGHT_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
"""What a weight may be."""
_CODES = {dtype: code for code, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """What is known of a tensor without its data."""

    shape: tuple[int, ...]
    """Its shape, () for a scalar."""
    dtype: torch.dtype
    """Its dtype."""
    file: str = ""
    """Name of the file that holds it; empty for one that is yet to be written."""

    @property
    def rows(self) -> int:
        """Length of the first dimension; 1 for a scalar."""
        return self.shape[0] if self.shape else 1

    @property
    def columns(self) -> int:
        """Elements in a row, over all further dimensions."""
        return math.prod(self.shape[1:])

    @property
    def nbytes(self) -> int:
        """Bytes of its data."""
        return self.rows * self.columns * self.dtype.itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One safetensors file of the plan."""

    file: str
    """Its name."""
    header: bytes
    """Everything before the data: the length of the JSON, and the JSON."""
    starts: Mapping[str, int]
    """Byte of the file at which each tensor begins, by name, ascending."""
    size: int
    """Bytes of the whole file."""


def plan_shards(tensors: Mapping[str, TensorInfo], shard_bytes: int) -> list[Shard]:
    """Tensors in their order, in files of at most `shard_bytes` of data, or of a single tensor.

    One file is `model.safetensors`, more are `model-00001-of-0000N.safetensors`.
    """
    groups: list[list[str]] = [[]]
    filled = 0
    for name, info in tensors.items():
        if groups[-1] and filled + info.nbytes > shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += info.nbytes
    count = len(groups)
    if count == 1:
        return [_shard("model.safetensors", groups[0], tensors)]
    return [
        _shard(f"model-{number:05}-of-{count:05}.safetensors", group, tensors)
        for number, group in enumerate(groups, 1)
    ]


def index_text(shards: Sequence[Shard]) -> str:
    """The `model.safetensors.index.json` of more than one shard."""
    weight_map = {name: shard.file for shard in shards for name in shard.starts}
    total = sum(shard.size - len(shard.header) for shard in shards)
    return json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2)


def check_tiling(name: str, info: TensorInfo, pieces: Sequence[Piece]) -> None:
    """ValueError unless the pieces cover every element of the tensor once."""
    ordered = sorted(pieces)
    for index, (_, end_row, first, end) in enumerate(ordered):
        for row, _, other_first, other_end in ordered[index + 1 :]:
            if row >= end_row:
                break
            if max(first, other_first) < min(end, other_end):
                raise ValueError(f"row {row} of tensor {name} was written twice")
    written = sum((end_row - row) * (end - first) for row, end_row, first, end in ordered)
    wanted = info.rows * info.columns
    if written < wanted:
        raise ValueError(f"{wanted - written} of {wanted} elements of tensor {name} are missing")


def _shard(file: str, names: Sequence[str], tensors: Mapping[str, TensorInfo]) -> Shard:
    # Wide elements first, as safetensors does, so that each tensor is aligned to its own.
    ordered = sorted(names, key=lambda name: -tensors[name].dtype.itemsize)
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offsets = {}
    end = 0
    for name in ordered:
        info = tensors[name]
        offsets[name] = end
        end += info.nbytes
        entries[name] = {
            "dtype": _CODES[info.dtype],
            "shape": list(info.shape),
            "data_offsets": [offsets[name], end],
        }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    header = len(text).to_bytes(8, "little") + text
    starts = {name: len(header) + offset for name, offset in offsets.items()}
    return Shard(file=file, header=header, starts=starts, size=len(header) + end)
