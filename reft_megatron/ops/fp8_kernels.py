"""The calls of the kernels that quantise: C structs, and what they write to.

Knows what `ops.fp8` has checked, and which tensors the kernels take; what an operator means stands
there.

Legend: T tokens (or any rows), K their elements, N output channels.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from reft_megatron.ops.kernels import DTYPES, Library
from reft_megatron.ops.reference.fp8 import ALIGNMENT

__all__ = [
    "bias_gelu_quantise",
    "dgelu_quantise",
    "layer_norm_quantise",
    "quantise_columns",
    "quantise_gradient",
    "quantise_rows",
    "takes_columns",
    "takes_rows",
    "transpose_codes",
]

_GROUP, _LARGEST_ROW, _BYTES, _PART_ROWS = 8, 16384, 16, 64
"""As in csrc/kernels: what divides a row, the most elements of one, what a lane loads, and the rows
that are summed together."""
_PLAIN, _LAYER_NORM, _GELU = range(3)
_E4M3 = torch.float8_e4m3fn
_P, _L, _I, _F = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_float


class _Rows(ctypes.Structure):
    _fields_ = (
        *(("codes", _P), ("scales", _P), ("means", _P), ("rstds", _P), ("faults", _P)),
        *(("x", _P), ("row_stride", _L), ("weight", _P), ("bias", _P)),
        *(("rows", _I), ("size", _I), ("source", _I), ("dtype", _I), ("vector_dtype", _I)),
        ("eps", _F),
    )


class _Columns(ctypes.Structure):
    _fields_ = (
        *(("column_codes", _P), ("column_scales", _P), ("row_codes", _P), ("row_scales", _P)),
        *(("sums", _P), ("parts", _P), ("tops", _P), ("faults", _P), ("dy", _P), ("x", _P)),
        *(("dy_stride", _L), ("x_stride", _L), ("bias", _P), ("fold", _P)),
        *(("rows", _I), ("columns", _I), ("padded", _I), ("dtype", _I), ("vector_dtype", _I)),
    )


class _Transpose(ctypes.Structure):
    _fields_ = (
        *(("out", _P), ("codes", _P), ("row_stride", _L)),
        *(("rows", _I), ("columns", _I), ("padded", _I)),
    )


def takes_rows(x: Tensor) -> bool:
    """True if the kernels that hold a row take these."""
    return takes_columns(x) and x.shape[1] <= _LARGEST_ROW


def takes_columns(x: Tensor) -> bool:
    """True if the kernels that go tile by tile take these."""
    return x.dtype in DTYPES and x.shape[1] % _GROUP == 0


def quantise_rows(x: Tensor, *, library: Library, faults: Tensor | None) -> tuple[Tensor, Tensor]:
    """See `ops.fp8.quantise_rows`."""
    return _rows(x, _Rows(source=_PLAIN), library=library, faults=faults)


def layer_norm_quantise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    library: Library,
    eps: float,
    faults: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See `ops.fp8.layer_norm_quantise`."""
    means, rstds = (torch.empty(len(x), device=x.device) for _ in range(2))
    weight, bias = _vector(weight), _vector(bias)
    args = _Rows(
        source=_LAYER_NORM,
        means=means.data_ptr(),
        rstds=rstds.data_ptr(),
        weight=weight.data_ptr(),
        bias=bias.data_ptr(),
        vector_dtype=DTYPES[weight.dtype],
        eps=eps,
    )
    return *_rows(x, args, library=library, faults=faults), means, rstds


def bias_gelu_quantise(
    x: Tensor, bias: Tensor | None, *, library: Library, faults: Tensor | None
) -> tuple[Tensor, Tensor]:
    """See `ops.fp8.bias_gelu_quantise`."""
    args = _Rows(source=_GELU)
    if bias is not None:
        bias = _vector(bias)
        args.bias, args.vector_dtype = bias.data_ptr(), DTYPES[bias.dtype]
    return _rows(x, args, library=library, faults=faults)


def quantise_columns(
    x: Tensor, *, library: Library, fold: Tensor | None, faults: Tensor | None
) -> tuple[Tensor, Tensor]:
    """See `ops.fp8.quantise_columns`."""
    return _columns(x, _Columns(), library=library, fold=fold, faults=faults)


def quantise_gradient(
    dy: Tensor, *, library: Library, fold: Tensor | None, faults: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """See `ops.fp8.quantise_gradient`."""
    return _gradient(dy, _Columns(), library=library, fold=fold, faults=faults)


def dgelu_quantise(
    dy: Tensor,
    x: Tensor,
    bias: Tensor | None,
    *,
    library: Library,
    fold: Tensor | None,
    faults: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """See `ops.fp8.dgelu_quantise`."""
    x = _aligned(x)
    args = _Columns(x=x.data_ptr(), x_stride=x.stride(0))
    if bias is not None:
        bias = _vector(bias)
        args.bias, args.vector_dtype = bias.data_ptr(), DTYPES[bias.dtype]
    return _gradient(dy, args, library=library, fold=fold, faults=faults)


def transpose_codes(codes: Tensor, *, library: Library) -> Tensor:
    """See `ops.fp8.transpose_codes`."""
    codes = _aligned(codes)
    out = codes.new_empty(codes.shape[1], _padded(len(codes)))
    args = _Transpose(
        out=out.data_ptr(),
        codes=codes.data_ptr(),
        row_stride=codes.stride(0),
        rows=codes.shape[0],
        columns=codes.shape[1],
        padded=out.shape[1],
    )
    library.call("reft_transpose", args, codes)
    return out


def _rows(
    x: Tensor, args: _Rows, *, library: Library, faults: Tensor | None
) -> tuple[Tensor, Tensor]:
    x = _aligned(x)
    codes = torch.empty(x.shape, dtype=_E4M3, device=x.device)
    scales = torch.empty(len(x), 1, device=x.device)
    args.codes, args.scales, args.faults = codes.data_ptr(), scales.data_ptr(), _address(faults)
    args.x, args.row_stride, args.dtype = x.data_ptr(), x.stride(0), DTYPES[x.dtype]
    args.rows, args.size = x.shape
    library.call("reft_quantise_rows", args, x)
    return codes, scales


def _gradient(
    dy: Tensor,
    args: _Columns,
    *,
    library: Library,
    fold: Tensor | None,
    faults: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    rows, columns = dy.shape
    codes = torch.empty(dy.shape, dtype=_E4M3, device=dy.device)
    scales, sums = (torch.empty(size, device=dy.device) for size in ((rows, 1), (columns,)))
    parts = torch.empty(-(-rows // _PART_ROWS), columns, device=dy.device)
    args.row_codes, args.row_scales = codes.data_ptr(), scales.data_ptr()
    args.sums, args.parts = sums.data_ptr(), parts.data_ptr()
    return codes, scales, *_columns(dy, args, library=library, fold=fold, faults=faults), sums


def _columns(
    dy: Tensor,
    args: _Columns,
    *,
    library: Library,
    fold: Tensor | None,
    faults: Tensor | None,
) -> tuple[Tensor, Tensor]:
    dy = _aligned(dy)
    rows, columns = dy.shape
    codes = torch.empty(columns, _padded(rows), dtype=_E4M3, device=dy.device)
    scales = torch.empty(columns, 1, device=dy.device)
    tops = torch.empty(rows + columns, dtype=torch.int32, device=dy.device)
    fold = None if fold is None else fold.contiguous()
    args.column_codes, args.column_scales = codes.data_ptr(), scales.data_ptr()
    args.tops, args.faults, args.fold = tops.data_ptr(), _address(faults), _address(fold)
    args.dy, args.dy_stride, args.dtype = dy.data_ptr(), dy.stride(0), DTYPES[dy.dtype]
    args.rows, args.columns, args.padded = rows, columns, codes.shape[1]
    library.call("reft_quantise_columns", args, dy)
    return codes, scales


def _padded(rows: int) -> int:
    return -(-rows // ALIGNMENT) * ALIGNMENT


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _aligned(x: Tensor) -> Tensor:
    """As the kernels load it: rows of whole groups, each at a multiple of their loads."""
    if x.stride(1) == 1 and x.stride(0) % _GROUP == 0 and x.data_ptr() % _BYTES == 0:
        return x
    return x.clone(memory_format=torch.contiguous_format)


def _vector(x: Tensor) -> Tensor:
    """A parameter as the kernels load it."""
    if x.dtype not in DTYPES:
        x = x.float()
    if x.stride(0) == 1 and x.data_ptr() % _BYTES == 0:
        return x
    return x.clone(memory_format=torch.contiguous_format)
