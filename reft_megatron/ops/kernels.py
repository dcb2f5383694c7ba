"""The libraries of kernels: found, checked and called.

Owns loading (`_kernels_cuda.so` for GPUs, `_kernels_host.so`, its twin for CPUs), the C structs of
csrc/kernels/reft_kernels.h for generation (others stand with their operators), how an operator is
registered with torch, and the report of which backend serves each here and why. Knows tensors only
as pointers and strides; what an operator means stands in its own module. Nothing is compiled here,
and no library of CUDA is needed to import this.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reft_megatron.errors import ConfigError

__all__ = [
    "ABI",
    "CUDA",
    "DTYPES",
    "HOST",
    "Library",
    "Served",
    "cuda",
    "host",
    "register",
    "served",
    "state",
    "summary",
]

ABI = 6
"""REFT_KERNELS_ABI of the header that this module mirrors."""
_FOLDER = Path(__file__).parents[1]
CUDA = _FOLDER / "_kernels_cuda.so"
HOST = _FOLDER / "_kernels_host.so"
DTYPES = {torch.bfloat16: 0, torch.float32: 1, torch.float8_e4m3fn: 2}
"""Their numbers in the header."""
_FUNCTIONS = (
    *("reft_decode_attention", "reft_append", "reft_draw"),
    *("reft_quantise_rows", "reft_quantise_columns", "reft_transpose"),
    *("reft_softmax", "reft_softmax_gradient"),
)
_OF_TRAINING = (
    *("softmax", "softmax_gradient"),
    *("quantise_rows", "quantise_columns", "quantise_gradient", "transpose_codes"),
    *("layer_norm_quantise", "bias_gelu_quantise", "dgelu_quantise"),
)

_P, _L, _I, _F = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_float


class _Cache(ctypes.Structure):
    _fields_ = (
        *(("keys", _P), ("values", _P), ("key_scales", _P), ("value_scales", _P)),
        *(("row_stride", _L), ("group_stride", _L), ("position_stride", _L)),
        *(("scale_row_stride", _L), ("scale_group_stride", _L)),
        *(("rows", _I), ("groups", _I), ("positions", _I), ("size", _I), ("dtype", _I)),
    )


class _Indices(ctypes.Structure):
    _fields_ = (("data", _P), ("wide", _I))


class _DecodeAttention(ctypes.Structure):
    _fields_ = (
        *(("cache", _Cache), ("out", _P), ("query", _P)),
        *(("query_row_stride", _L), ("query_head_stride", _L)),
        *(("lengths", _Indices), ("rows", _Indices)),
        *(("batch", _I), ("heads", _I), ("window", _I), ("scale", _F), ("dtype", _I)),
    )


class _Append(ctypes.Structure):
    _fields_ = (
        *(("cache", _Cache), ("key", _P), ("value", _P)),
        *(("key_row_stride", _L), ("key_group_stride", _L)),
        *(("value_row_stride", _L), ("value_group_stride", _L)),
        *(("positions", _Indices), ("rows", _Indices), ("faults", _P)),
        *(("batch", _I), ("dtype", _I)),
    )


class _Draw(ctypes.Structure):
    _fields_ = (
        *(("logits", _P), ("row_stride", _L), ("keys", _P), ("positions", _P)),
        *(("scores", _P), ("tokens", _P), ("chosen", _P), ("log_sums", _P)),
        *(("batch", _I), ("vocabulary", _I), ("start", _I), ("greedy", _I), ("temperature", _F)),
    )


class Library:
    """A library of kernels. Its functions take tensors of one device, as their operators do."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError if there is no library at `path`, or one of another ABI number."""
        if not path.is_file():
            raise ConfigError(f"{path.name} is not built: {_HOW}.")
        self.name = path.name
        try:
            self._functions = ctypes.CDLL(str(path))
            abi = int(self._functions.reft_abi())
        except (OSError, AttributeError) as error:
            raise ConfigError(f"{path.name} cannot be loaded ({error}): {_HOW}.") from None
        if abi != ABI:
            raise ConfigError(f"{path.name} has ABI {abi}, and this package wants {ABI}: {_HOW}.")
        self._functions.reft_target.restype = ctypes.c_char_p
        self._functions.reft_message.restype = ctypes.c_char_p
        for name in _FUNCTIONS:
            getattr(self._functions, name).argtypes = (_P, _I, _P)

    @property
    def target(self) -> str:
        """What its code runs on: "host", or "cuda" and the architectures."""
        text: bytes = self._functions.reft_target()
        return text.decode()

    def message(self, status: int) -> str:
        """What a status of its functions means."""
        text: bytes = self._functions.reft_message(status)
        return text.decode()

    def probe(self, device: int) -> int:
        """0 if it can run on that device, else the status that says why not."""
        # A library makes a device the current one, and leaves it at that.
        with torch.cuda.device(device) if torch.cuda.is_available() else nullcontext():
            return int(self._functions.reft_probe(device))

    def decode_attention(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        *,
        lengths: Tensor,
        rows: Tensor | None,
        window: int,
        scale: float,
        key_scales: Tensor | None = None,
        value_scales: Tensor | None = None,
    ) -> Tensor:
        """See `ops.decode_attention`, which has checked the shapes and dtypes."""
        query = query if query.stride(2) == 1 else query.contiguous()
        out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
        args = _DecodeAttention(
            cache=_cache(keys, values, key_scales=key_scales, value_scales=value_scales),
            out=out.data_ptr(),
            query=query.data_ptr(),
            query_row_stride=query.stride(0),
            query_head_stride=query.stride(1),
            lengths=_indices(lengths),
            rows=_indices(rows),
            batch=query.shape[0],
            heads=query.shape[1],
            window=window,
            scale=scale,
            dtype=DTYPES[query.dtype],
        )
        self.call("reft_decode_attention", args, query)
        return out

    def append(
        self,
        keys: Tensor,
        values: Tensor,
        *,
        key: Tensor,
        value: Tensor,
        positions: Tensor,
        rows: Tensor | None,
        key_scales: Tensor | None = None,
        value_scales: Tensor | None = None,
        faults: Tensor | None = None,
    ) -> None:
        """See `ops.decode_attention.append`, which has checked the shapes and dtypes."""
        key, value = (x if x.stride(2) == 1 else x.contiguous() for x in (key, value))
        args = _Append(
            cache=_cache(keys, values, key_scales=key_scales, value_scales=value_scales),
            key=key.data_ptr(),
            value=value.data_ptr(),
            key_row_stride=key.stride(0),
            key_group_stride=key.stride(1),
            value_row_stride=value.stride(0),
            value_group_stride=value.stride(1),
            positions=_indices(positions),
            rows=_indices(rows),
            faults=None if faults is None else faults.data_ptr(),
            batch=key.shape[0],
            dtype=DTYPES[key.dtype],
        )
        self.call("reft_append", args, key)

    def draw(
        self,
        logits: Tensor,
        keys: Tensor,
        positions: Tensor,
        *,
        start: int,
        temperature: float,
        greedy: bool,
        sums: bool = True,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See `ops.drawing`, which has checked shapes and dtypes. `sums` false writes none."""
        logits = logits if logits.stride(1) == 1 else logits.contiguous()
        keys, positions = keys.contiguous(), positions.contiguous()
        tokens = torch.empty(len(logits), dtype=torch.int64, device=logits.device)
        scores, chosen, log_sums = (logits.new_empty(len(logits)) for _ in range(3))
        args = _Draw(
            logits=logits.data_ptr(),
            row_stride=logits.stride(0),
            keys=keys.data_ptr(),
            positions=positions.data_ptr(),
            scores=scores.data_ptr(),
            tokens=tokens.data_ptr(),
            chosen=chosen.data_ptr(),
            log_sums=log_sums.data_ptr() if sums else None,
            batch=logits.shape[0],
            vocabulary=logits.shape[1],
            start=start,
            greedy=greedy,
            temperature=temperature,
        )
        self.call("reft_draw", args, logits)
        return scores, tokens, chosen, log_sums

    def call(self, name: str, args: ctypes.Structure, like: Tensor) -> None:
        """Call a function on the device of `like`; raises ValueError for a status other than 0."""
        function = getattr(self._functions, name)
        if like.is_cuda:
            with torch.cuda.device(like.device):
                stream = torch.cuda.current_stream().cuda_stream
                status = function(ctypes.byref(args), like.device.index, stream)
        else:
            status = function(ctypes.byref(args), 0, None)
        if status:
            raise ValueError(f"{name}: {self.message(status)} (status {status}).")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Who serves an operator on the machine at hand."""

    operator: str
    """Its name in `ops`."""
    backend: str
    """What computes it."""
    why: str
    """What decided so."""


@cache
def host() -> Library:
    """The host twin; raises ConfigError where it is not built."""
    return Library(HOST)


@cache
def cuda(device: int) -> Library | str:
    """The library for that GPU, or why there is none."""
    try:
        library = Library(CUDA)
    except ConfigError as error:
        return str(error)
    return state(library, device) if library.probe(device) else library


def register(
    name: str,
    signature: str,
    *,
    cpu: Callable[..., Any],
    cuda: Callable[..., Any],
    fake: Callable[..., Any],
) -> None:
    """Make `reft::<name>` an operator of torch, which each device serves with its own function.

    `fake` gives what comes out as tensors without content, for tracing.
    """
    operator = f"reft::{name}"
    torch.library.define(operator, signature)
    torch.library.impl(operator, "CPU", cpu)
    torch.library.impl(operator, "CUDA", cuda)
    torch.library.register_fake(operator, fake)


def state(library: Library, device: int) -> str:
    """What a library has code for, and what keeps it from running on a device."""
    status = library.probe(device)
    trouble = f", but {library.message(status)} (status {status})" if status else ""
    return f"has code for {library.target}{trouble}"


def served() -> list[Served]:
    """Who serves each operator here: on the current GPU, or on a CPU where there is none.

    Raises ConfigError on a CPU whose twin is not built.
    """
    gpu = torch.cuda.is_available()
    library = cuda(torch.cuda.current_device()) if gpu else host()
    masked = "torch: scaled_dot_product_attention under a mask"
    return [
        _served("append", library, otherwise="torch"),
        _served("decode_attention", library if gpu else "no GPU", otherwise=masked),
        _served("draw", library, otherwise="torch"),
        *(_served(name, library if gpu else "no GPU", otherwise="torch") for name in _OF_TRAINING),
    ]


def summary() -> str:
    """The same in one line, as a run begins with; raises the same."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in served():
        groups.setdefault((row.backend.partition(":")[0], row.why), []).append(row.operator)
    told = (f"{', '.join(names)} by {by} ({why})" for (by, why), names in groups.items())
    return "; ".join(told)


def _served(operator: str, library: Library | str, *, otherwise: str) -> Served:
    if isinstance(library, str):
        return Served(operator=operator, backend=otherwise, why=library)
    return Served(operator=operator, backend=library.name, why=f"it has code for {library.target}")


_HOW = "`pip install -e .` builds it, for GPUs where nvcc is (REFT_BUILD_CUDA=on insists)"


def _cache(
    keys: Tensor,
    values: Tensor,
    *,
    key_scales: Tensor | None = None,
    value_scales: Tensor | None = None,
) -> _Cache:
    _alike("keys", "values", (keys, values))
    rows, groups, positions, size = keys.shape
    cache = _Cache(
        keys=keys.data_ptr(),
        values=values.data_ptr(),
        row_stride=keys.stride(0),
        group_stride=keys.stride(1),
        position_stride=keys.stride(2),
        rows=rows,
        groups=groups,
        positions=positions,
        size=size,
        dtype=DTYPES[keys.dtype],
    )
    if key_scales is not None and value_scales is not None:
        _alike("key scales", "value scales", (key_scales, value_scales))
        cache.key_scales, cache.value_scales = key_scales.data_ptr(), value_scales.data_ptr()
        cache.scale_row_stride, cache.scale_group_stride, _ = key_scales.stride()
    return cache


def _alike(one: str, other: str, tensors: tuple[Tensor, Tensor]) -> None:
    strides, others = (tensor.stride() for tensor in tensors)
    if strides != others or strides[-1] != 1:
        raise ValueError(
            f"strides {strides} of {one} and {others} of {other}; wanted the same, and 1 for the "
            "last axis."
        )


def _indices(x: Tensor | None) -> _Indices:
    if x is None:
        return _Indices(data=None, wide=0)
    if x.stride(0) != 1:
        raise ValueError(f"indices with stride {x.stride(0)}; wanted them side by side.")
    return _Indices(data=x.data_ptr(), wide=x.dtype == torch.int64)
