"""Reading the weights of a Hugging Face folder, a piece at a time.

Owns finding the weight files (safetensors or torch's, one or sharded), checking them before
anything is read, and reading rectangles of their tensors. Files are mapped, never read whole; pages
of a mapping count as resident memory, so a file is mapped anew after every `MAPPED_BYTES`. Which
tensors there should be, and under which names, is the caller's affair.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open

from reft_megatron.closing import Closing
from reft_megatron.errors import CheckpointError
from reft_megatron.policy.huggingface.shard_plan import DTYPES, WEIGHT_DTYPES, TensorInfo

__all__ = ["MAPPED_BYTES", "WeightFiles"]

MAPPED_BYTES = 1 << 26
"""Bytes of a file that are mapped in at most, and so the memory that reading takes."""
_KINDS = ("model.safetensors", "pytorch_model.bin")
_AGAIN = "Download or export it again, or point at another folder."


class WeightFiles(Closing):
    """The weights of one folder."""

    folder: Path
    """Where they are."""
    tensors: Mapping[str, TensorInfo]
    """Every tensor of the folder by name, in the order of the files."""

    def __init__(self, folder: Path, *, allow_nonfinite: bool = False) -> None:
        """Find and check the weight files of `folder`; safetensors are preferred.

        Reads no weights. CheckpointError, naming the file, if there are none, one is absent, cut
        short or damaged, lacks a tensor that the index promises, or holds one twice. With
        `allow_nonfinite`, `read` also gives tensors that hold NaN or infinities.
        """
        self.folder = folder
        self._allow_nonfinite = allow_nonfinite
        self._open: _File | None = None
        self._open_name = ""
        self._mapped = 0
        files, promised = _find(folder)
        tensors: dict[str, TensorInfo] = {}
        for file in files:
            for name, info in _open_file(folder / file).tensors().items():
                if name in tensors:
                    raise CheckpointError(
                        f"{folder}: both {tensors[name].file} and {file} hold tensor {name}. "
                        f"{_AGAIN}"
                    )
                tensors[name] = info
        for name, file in promised.items():
            if name not in tensors or tensors[name].file != file:
                raise CheckpointError(
                    f"{folder / file} lacks tensor {name}, which the index says it holds. {_AGAIN}"
                )
        self.tensors = MappingProxyType(tensors)

    def read(
        self, name: str, *, rows: slice | None = None, columns: slice | None = None
    ) -> torch.Tensor:
        """A copy of `rows` of the first dimension, and of `columns` if the tensor has two.

        On the CPU, contiguous, in the file's dtype; raises as `read_into` does.
        """
        info = self.tensors[name]
        shape = info.shape
        if shape and rows is not None:
            shape = (rows.stop - rows.start, *shape[1:])
        if len(shape) == 2 and columns is not None:
            shape = (shape[0], columns.stop - columns.start)
        out = torch.empty(shape, dtype=info.dtype)
        self.read_into(name, out, rows=rows, columns=columns)
        return out

    def read_into(
        self,
        name: str,
        out: torch.Tensor,
        *,
        rows: slice | None = None,
        columns: slice | None = None,
    ) -> None:
        """Put `rows` of the first dimension, and `columns` if the tensor has two, into `out`.

        `out` has their shape, and any dtype and device. Takes `MAPPED_BYTES` of memory. Raises
        CheckpointError for what is not float16, bfloat16 or float32, and for NaN or infinities in
        what was read; IndexError for rows or columns that are not there, ValueError for another
        shape.
        """
        info = self.tensors[name]
        if info.dtype not in WEIGHT_DTYPES:
            raise CheckpointError(
                f"tensor {name} of {self.folder / info.file} is {info.dtype}; weights are read as "
                "float16, bfloat16 or float32. Save the model in one of these."
            )
        if columns is not None and len(info.shape) != 2:
            raise IndexError(f"columns of {name}, whose shape is {info.shape}")
        cut_rows = _within(rows, info.rows, f"rows of {name}")
        cut_columns = _within(columns, info.columns, f"columns of {name}")
        sizes = (cut_rows.stop - cut_rows.start, cut_columns.stop - cut_columns.start)
        wanted = (sizes if len(info.shape) == 2 else (sizes[0], *info.shape[1:]))[: len(info.shape)]
        if tuple(out.shape) != wanted:
            raise ValueError(f"{name} gives {wanted}, and the place for it is {tuple(out.shape)}")
        if out.numel():
            self._copy(name, out, first=cut_rows.start, columns=cut_columns)
            self._check_finite(name, out)

    def _copy(self, name: str, out: torch.Tensor, *, first: int, columns: slice) -> None:
        """Fill `out` with the rows from `first`, in steps that fit the mapping."""
        info = self.tensors[name]
        if not info.shape:
            out.copy_(self._map(info.file, info.nbytes).cut(name, ...))
            return
        row_bytes = info.nbytes // info.rows
        step = max(1, MAPPED_BYTES // row_bytes)
        for row in range(0, len(out), step):
            count = min(step, len(out) - row)
            here = slice(first + row, first + row + count)
            # Columns touch every page of their rows, or nearly.
            file = self._map(info.file, count * row_bytes)
            out[row : row + count] = file.cut(name, (here, columns) if out.dim() == 2 else here)

    def _map(self, file: str, nbytes: int) -> _File:
        """The open `file`, which may have `nbytes` more mapped in."""
        if self._open is None or self._open_name != file or self._mapped + nbytes > MAPPED_BYTES:
            self.close()
            self._open, self._open_name = _open_file(self.folder / file), file
        self._mapped += nbytes
        return self._open

    def close(self) -> None:
        """Let go of the file that is mapped."""
        self._open, self._open_name, self._mapped = None, "", 0

    def _check_finite(self, name: str, values: torch.Tensor) -> None:
        # NaN passes through both, and nothing is allocated.
        if self._allow_nonfinite or all(torch.isfinite(end) for end in torch.aminmax(values)):
            return
        found = "NaN" if torch.isnan(values).any() else "infinities"
        raise CheckpointError(
            f"tensor {name} of {self.folder / self.tensors[name].file} holds {found}. Such a "
            "model cannot be trained; use another checkpoint of it, or allow values that are not "
            "finite."
        )


class _File(Protocol):
    """One open weight file."""

    def tensors(self) -> dict[str, TensorInfo]:
        """Its tensors by name."""

    def cut(self, name: str, where: Any) -> torch.Tensor:
        """A view of the mapping: that part of a tensor."""


class _Safetensors:
    """A mapped safetensors file; the library checks the header against the size."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = safe_open(path, framework="pt")

    def tensors(self) -> dict[str, TensorInfo]:
        found = {}
        for name in self._file.offset_keys():
            part = self._file.get_slice(name)
            code = part.get_dtype()
            if code not in DTYPES:
                raise CheckpointError(
                    f"tensor {name} of {self._path} is {code}, which torch cannot hold. Save the "
                    "model in float16, bfloat16 or float32."
                )
            found[name] = TensorInfo(
                shape=tuple(part.get_shape()), dtype=DTYPES[code], file=self._path.name
            )
        return found

    def cut(self, name: str, where: Any) -> torch.Tensor:
        return self._file.get_slice(name)[where]


class _Pickled:
    """A mapped file of `torch.save`, whose pickle may name nothing but tensors."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held = torch.load(path, map_location="cpu", mmap=True, weights_only=True)

    def tensors(self) -> dict[str, TensorInfo]:
        if not isinstance(self._held, Mapping):
            raise CheckpointError(
                f"{self._path} holds a {type(self._held).__name__}; wanted tensors by name. "
                "Save the model's state_dict() with torch.save."
            )
        for name, value in self._held.items():
            if not (isinstance(name, str) and _is_plain(value)):
                raise CheckpointError(
                    f"{self._path} holds a {type(value).__name__} under {name!r}; wanted plain "
                    "tensors by name and nothing else. Save the model's state_dict() with "
                    "torch.save."
                )
        return {
            name: TensorInfo(shape=tuple(value.shape), dtype=value.dtype, file=self._path.name)
            for name, value in self._held.items()
        }

    def cut(self, name: str, where: Any) -> torch.Tensor:
        part: torch.Tensor = self._held[name].detach()[where]
        return part


def _is_plain(value: object) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _find(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Names of the weight files, and {tensor: file} as the index has it, if there is one."""
    for single in _KINDS:
        # A link that leads nowhere counts: the folder means to have this file.
        if os.path.lexists(folder / single):
            return [single], {}
        index = folder / f"{single}.index.json"
        if os.path.lexists(index):
            promised = _read_index(index)
            files = sorted(set(promised.values()))
            absent = [file for file in files if not (folder / file).is_file()]
            if absent:
                raise CheckpointError(
                    f"{index} names {', '.join(absent)}, which "
                    f"{'is' if len(absent) == 1 else 'are'} not there. {_AGAIN}"
                )
            return files, promised
    wanted = ", ".join(f"{kind} or {kind}.index.json" for kind in _KINDS)
    raise CheckpointError(
        f"{folder} has no weight files; wanted {wanted}. Point at a folder that a model was "
        "downloaded to, or saved to with save_pretrained()."
    )


def _read_index(path: Path) -> dict[str, str]:
    try:
        weight_map = json.loads(path.read_bytes())["weight_map"]
        names = {tensor: Path(file).name for tensor, file in weight_map.items()}
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}. {_AGAIN}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is not an index of weight files: it has no readable weight_map. "
            f"{_of_pointer(path)}{_AGAIN}"
        ) from error
    if not names or "" in names.values() or names != weight_map:
        raise CheckpointError(
            f"{path} is not an index of weight files: its weight_map must give each tensor the "
            f"name of a file in the same folder. {_AGAIN}"
        )
    return names


def _open_file(path: Path) -> _File:
    """The file, mapped; CheckpointError if it is not what its name says."""
    try:
        return _Safetensors(path) if path.suffix == ".safetensors" else _Pickled(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}. {_AGAIN}") from error
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file: {error}. {_of_pointer(path)}{_AGAIN}"
        ) from error
    except Exception as error:  # torch raises whatever the damaged bytes lead to
        if "unable to mmap" in str(error):
            raise CheckpointError(
                f"{path} cannot be mapped: {error}. Save the model in smaller shards, each well "
                "below the machine's memory."
            ) from error
        raise CheckpointError(
            f"{path} is not a whole file of torch.save, from torch 1.6 or later, with nothing but "
            f"tensors in it. {_of_pointer(path)}{_AGAIN}"
        ) from error


def _of_pointer(path: Path) -> str:
    """What to say if `path` only points to a file in Git LFS."""
    with path.open("rb") as file:
        if file.read(23) != b"version https://git-lfs":
            return ""
    return "It is a pointer of Git LFS; `git lfs pull` fetches the file itself. "


def _within(part: slice | None, length: int, what: str) -> slice:
    """`part` of `length` as a slice with both ends; IndexError if it sticks out."""
    start, stop, step = (part or slice(None)).indices(length)
    given = part or slice(None)
    if step != 1 or given.start not in (None, start) or given.stop not in (None, stop):
        raise IndexError(f"{part} is not within the {length} {what}")
    return slice(start, max(start, stop))
