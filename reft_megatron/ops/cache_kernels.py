"""The calls of a key/value cache's kernels: C structs, and what they write to.

Knows what `ops.decode_attention` has checked; what an operator means stands there.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from reft_megatron.ops.kernels import DTYPES, Library

__all__ = ["append", "decode_attention"]

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


def decode_attention(
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
    library: Library,
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
    library.call("reft_decode_attention", args, query)
    return out


def append(
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
    library: Library,
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
    library.call("reft_append", args, key)


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
