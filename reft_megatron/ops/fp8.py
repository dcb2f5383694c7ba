"""FP8 products and their factors: E4M3 codes with a scale for each row.

Owns the operators that quantise, alone and fused with what stands before a product (LayerNorm, bias
and GELU, and GELU's derivative), and `scaled_matmul`, torch's product of codes with CUDA's contract
enforced on every device. A factor is a `Codes`: the elements of a row times its scale are the
values. What a linear layer y = x W^T + b of T tokens needs:

    x8 = quantise_rows(x)                    once for the forward pass, kept for the backward
    w8 = quantise_rows(W)                    [N, K], a scale for each output channel
    y = scaled_matmul(x8, w8, bias=b)
    g = quantise_gradient(dy, fold=x8.scale)
    dx = scaled_matmul(g.rows, quantise_columns(W))                    W^T has scales of its own
    dW = scaled_matmul(g.columns, unscaled(transpose_codes(x8.codes)))
    db = g.bias

The weight's gradient is sum_t dy_t (x) s_t x8_t = (dy o s)^T x8: the codes of x are used again as
they are, and their scales are folded into dy before that is quantised, which loses no more than
quantising x anew by columns would, and reads x no second time. A transposed copy is made in the
backward pass, of codes, a byte in and a byte out: between the passes one layout is kept.

Who serves them, `ops.fp8_operators` says. None of this has a gradient of its own: it belongs into
the two halves of an autograd function.

Legend: T tokens (or any rows), K their elements, N output channels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from reft_megatron.ops.fp8_operators import OPERATORS
from reft_megatron.ops.reference.fp8 import ALIGNMENT

__all__ = [
    "ALIGNMENT",
    "Codes",
    "Gradient",
    "Normalised",
    "bias_gelu_quantise",
    "dgelu_quantise",
    "layer_norm_quantise",
    "quantise_columns",
    "quantise_gradient",
    "quantise_rows",
    "refusal",
    "scaled_matmul",
    "transpose_codes",
    "unscaled",
]

E4M3 = torch.float8_e4m3fn
FLOATS = (torch.bfloat16, torch.float16, torch.float32)
_LEAST_GPU = (8, 9)
"""Compute capability from which on GPUs multiply FP8."""


class Codes(NamedTuple):
    """A matrix in FP8, one factor of a product."""

    codes: Tensor
    """float8_e4m3fn [rows, elements], contiguous."""
    scale: Tensor
    """fp32 [rows, 1]; codes times it are the values."""


class Normalised(NamedTuple):
    """What LayerNorm gives, and what its backward pass needs."""

    rows: Codes
    """[T, K] with a scale for each token."""
    mean: Tensor
    """fp32 [T]."""
    rstd: Tensor
    """fp32 [T], 1 / sqrt(variance + eps)."""


class Gradient(NamedTuple):
    """A gradient [T, N] as the products of a backward pass take it."""

    rows: Codes
    """[T, N] with a scale for each token: for the gradient of the input."""
    columns: Codes
    """[N, T rounded up to 16] with a scale for each channel: for the gradient of the weight."""
    bias: Tensor
    """fp32 [N], the sum over tokens, not quantised."""


def quantise_rows(x: Tensor, *, faults: Tensor | None = None) -> Codes:
    """x [T, K] with a scale for each row; x bf16, fp16 or fp32.

    scale = max|x| / 448 and code = nearest(x * (448 / max|x|)), ties to even, in fp32; zeros have
    scale 1. So has a row with what is not finite: its infinities become +-448 and NaN stays NaN,
    and faults int32 [1], where it is given, grows by the number of such rows.

    Bit for bit the same on every device. Raises ValueError for what does not fit.
    """
    _check("x", x)
    _check_faults(faults)
    return Codes(*OPERATORS.quantise_rows(x, faults=faults))


def quantise_columns(
    x: Tensor, *, fold: Tensor | None = None, faults: Tensor | None = None
) -> Codes:
    """x^T with a scale for each of its rows, the columns of x [T, K]: codes [K, T'], scale [K, 1].

    T' is T rounded up to a multiple of 16, with codes 0 behind, as a product over T wants it. Each
    row of x is multiplied with its entry of fold fp32 [T, 1] first, one fp32 multiplication. Scales
    and faults as in `quantise_rows`, bit for bit the same on every device. Raises ValueError for
    what does not fit.
    """
    _check("x", x)
    _check_fold(fold, x)
    _check_faults(faults)
    return Codes(*OPERATORS.quantise_columns(x, fold=fold, faults=faults))


def quantise_gradient(
    dy: Tensor, *, fold: Tensor | None = None, faults: Tensor | None = None
) -> Gradient:
    """A gradient dy [T, N] by rows, by columns with `fold`, and its sum over the tokens.

    As `quantise_rows` and `quantise_columns`, which read dy more often together; faults grows by
    rows and by columns. The sums' order differs between devices. Raises ValueError for what does
    not fit.
    """
    _check("dy", dy)
    _check_fold(fold, dy)
    _check_faults(faults)
    return _gradient(*OPERATORS.quantise_gradient(dy, fold=fold, faults=faults))


def transpose_codes(codes: Tensor) -> Tensor:
    """codes [T, K] transposed in memory: [K, T'], T' being T rounded up to 16, with 0 behind.

    Raises ValueError for what does not fit.
    """
    if codes.dim() != 2 or codes.dtype != E4M3 or not codes.numel():
        raise ValueError(f"codes {_told(codes)}; wanted [tokens, elements], {E4M3}.")
    out: Tensor = OPERATORS.transpose_codes(codes)
    return out


def unscaled(codes: Tensor) -> Codes:
    """Codes whose scales have gone elsewhere, with scale 1."""
    return Codes(codes, torch.ones(len(codes), 1, device=codes.device))


def layer_norm_quantise(
    x: Tensor, weight: Tensor, bias: Tensor, *, eps: float, faults: Tensor | None = None
) -> Normalised:
    """LayerNorm of x [T, K], quantised by rows from its fp32 values.

    weight and bias [K], of one dtype, which may be another than x's; variance as torch's LayerNorm
    has it, without Bessel's correction. Codes of two devices differ by one step on a thousandth of
    the elements, as their sums differ by ulps. Raises ValueError for what does not fit.
    """
    _check("x", x)
    for name, parameter in (("weight", weight), ("bias", bias)):
        _check_vector(name, parameter, x)
    if weight.dtype != bias.dtype:
        raise ValueError(f"weight {weight.dtype} and bias {bias.dtype}; wanted one dtype.")
    _check_faults(faults)
    *rows, mean, rstd = OPERATORS.layer_norm_quantise(x, weight, bias, eps=eps, faults=faults)
    return Normalised(Codes(*rows), mean, rstd)


def bias_gelu_quantise(x: Tensor, bias: Tensor | None, *, faults: Tensor | None = None) -> Codes:
    """GELU (with the error function) of x + bias, quantised by rows from its fp32 values.

    x [T, K]; bias [K] or None, where the product has added it. Devices differ as in
    `layer_norm_quantise`. Raises ValueError for what does not fit.
    """
    _check("x", x)
    _check_vector("bias", bias, x)
    _check_faults(faults)
    return Codes(*OPERATORS.bias_gelu_quantise(x, bias, faults=faults))


def dgelu_quantise(
    dy: Tensor,
    x: Tensor,
    bias: Tensor | None,
    *,
    fold: Tensor | None = None,
    faults: Tensor | None = None,
) -> Gradient:
    """The gradient dx = dy * gelu'(x + bias) as `quantise_gradient` gives it, from its fp32 values.

    dy and x [T, N], the gradient of what `bias_gelu_quantise` computes and its input, of one dtype;
    the sum over tokens is the bias's gradient. Devices differ as in `layer_norm_quantise`. Raises
    ValueError for what does not fit.
    """
    _check("dy", dy)
    if x.shape != dy.shape or x.dtype != dy.dtype:
        raise ValueError(f"x {_told(x)} for dy {_told(dy)}; wanted the same shape and dtype.")
    _check_vector("bias", bias, x)
    _check_fold(fold, dy)
    _check_faults(faults)
    return _gradient(*OPERATORS.dgelu_quantise(dy, x, bias, fold=fold, faults=faults))


def scaled_matmul(
    a: Codes,
    b: Codes,
    *,
    bias: Tensor | None = None,
    out_dtype: torch.dtype = torch.bfloat16,
    fast: bool = False,
) -> Tensor:
    """a b^T [M, N] of codes a [M, K] and b [N, K] with a scale for each row of either.

    bias [N] in out_dtype, which is bf16 or fp16 then; fp32 has none. The scales are applied to the
    fp32 sums, which are rounded to `out_dtype` once. `fast` lets a GPU keep sums in the product
    unit's own precision, some 14 bits, and is nothing elsewhere.

    torch's product for CPUs takes what the one for GPUs refuses: what that refuses is refused on
    every device, with a ValueError. K and N must be multiples of 16.
    """
    for name, (codes, scale) in (("a", a), ("b", b)):
        if codes.dim() != 2 or codes.dtype != E4M3 or not codes.is_contiguous():
            raise ValueError(
                f"{name} {_told(codes)} with strides {codes.stride()}; wanted [rows, elements], "
                f"{E4M3}, contiguous."
            )
        fits = scale.shape == (len(codes), 1) and scale.dtype == torch.float32
        if not fits or not scale.is_contiguous():
            raise ValueError(
                f"scale of {name} {_told(scale)} with strides {scale.stride()}; wanted "
                f"[{len(codes)}, 1], float32, contiguous."
            )
    (rows, size), (channels, its) = a.codes.shape, b.codes.shape
    if size != its or size % ALIGNMENT or channels % ALIGNMENT or not size or not channels:
        raise ValueError(
            f"a [{rows}, {size}] and b [{channels}, {its}]; wanted as many elements in both, and "
            f"those and b's rows in multiples of {ALIGNMENT}."
        )
    if out_dtype not in FLOATS:
        raise ValueError(f"a product in {out_dtype}; wanted one of {FLOATS}.")
    if bias is not None and (bias.shape != (channels,) or out_dtype == torch.float32):
        raise ValueError(
            f"bias {_told(bias)} for {channels} channels in {out_dtype}; wanted one for each, and "
            "none where the product is float32."
        )
    if bias is not None and bias.dtype != out_dtype:
        raise ValueError(f"bias {bias.dtype} for a product in {out_dtype}; wanted the same.")
    return torch._scaled_mm(
        a.codes,
        b.codes.t(),
        scale_a=a.scale,
        scale_b=b.scale.t(),
        bias=bias,
        out_dtype=out_dtype,
        use_fast_accum=fast,
    )


def refusal(device: torch.device) -> str:
    """Why a device has no product of FP8 codes; empty where it has one."""
    if device.type != "cuda":
        return ""
    major, minor = torch.cuda.get_device_capability(device)
    if (major, minor) >= _LEAST_GPU:
        return ""
    name = torch.cuda.get_device_name(device)
    return (
        f"{name} is sm_{major}{minor}, and FP8 products need sm_89 (Ada), sm_90 (Hopper) or newer"
    )


def _gradient(*parts: Tensor) -> Gradient:
    codes, scale, columns, its_scale, bias = parts
    return Gradient(Codes(codes, scale), Codes(columns, its_scale), bias)


def _told(x: Tensor) -> str:
    return f"{tuple(x.shape)} {x.dtype}"


def _check(name: str, x: Tensor) -> None:
    if x.dim() != 2 or x.dtype not in FLOATS or 0 in x.shape:
        raise ValueError(
            f"{name} {_told(x)}; wanted [tokens, elements] of 1 or more, bfloat16, float16 or "
            "float32."
        )


def _check_vector(name: str, vector: Tensor | None, x: Tensor) -> None:
    if vector is not None and (vector.shape != x.shape[1:] or vector.dtype not in FLOATS):
        raise ValueError(
            f"{name} {_told(vector)}; wanted [{x.shape[1]}], bfloat16, float16 or float32."
        )


def _check_fold(fold: Tensor | None, x: Tensor) -> None:
    if fold is not None and (fold.shape != (len(x), 1) or fold.dtype != torch.float32):
        raise ValueError(f"fold {_told(fold)}; wanted [{len(x)}, 1], float32.")


def _check_faults(faults: Tensor | None) -> None:
    if faults is not None and (faults.shape != (1,) or faults.dtype != torch.int32):
        raise ValueError(f"faults {_told(faults)}; wanted [1], int32.")
