"""What the FP8 operators must give, in plain torch.

Says the arithmetic of `ops.fp8`; knows no kernel. Everything is computed in fp32 from the elements
as they are stored, and nothing is rounded in between: only the codes are. Scales and codes follow
`ops.reference.e4m3`, for a row or for a column.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from reft_megatron.ops.reference.e4m3 import quantise

__all__ = [
    "ALIGNMENT",
    "bias_gelu_quantise",
    "dgelu_quantise",
    "gelu",
    "gelu_slope",
    "layer_norm_quantise",
    "quantise_columns",
    "quantise_gradient",
    "quantise_rows",
    "transpose_codes",
]

ALIGNMENT = 16
"""What divides the axes of a product of FP8 codes, but for the rows of its first factor."""


def quantise_rows(x: Tensor, *, faults: Tensor | None) -> tuple[Tensor, Tensor]:
    """See `ops.fp8.quantise_rows`; (codes [T, K], scale [T, 1])."""
    _count_faults(x.float(), faults)
    codes, scale = quantise(x)
    return codes, scale[:, None]


def quantise_columns(
    x: Tensor, *, fold: Tensor | None, faults: Tensor | None
) -> tuple[Tensor, Tensor]:
    """See `ops.fp8.quantise_columns`; (codes [K, T rounded up], scale [K, 1])."""
    columns = (x.float() if fold is None else x.float() * fold).t()
    _count_faults(columns, faults)
    codes, scale = quantise(columns)
    return _padded(codes), scale[:, None]


def quantise_gradient(
    dy: Tensor, *, fold: Tensor | None, faults: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """See `ops.fp8.quantise_gradient`; codes and scale of the rows, of the columns, their sums."""
    rows = quantise_rows(dy, faults=faults)
    columns = quantise_columns(dy, fold=fold, faults=faults)
    return *rows, *columns, dy.float().sum(dim=0)


def transpose_codes(codes: Tensor) -> Tensor:
    """See `ops.fp8.transpose_codes`; [K, T rounded up]."""
    return _padded(codes.t())


def layer_norm_quantise(
    x: Tensor, weight: Tensor, bias: Tensor, *, eps: float, faults: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See `ops.fp8.layer_norm_quantise`; (codes [T, K], scale [T, 1], mean [T], rstd [T])."""
    wide = x.float()
    mean = wide.mean(dim=-1, keepdim=True)
    rstd = ((wide - mean).square().mean(dim=-1, keepdim=True) + eps).rsqrt()
    rows = quantise_rows((wide - mean) * rstd * weight.float() + bias.float(), faults=faults)
    return *rows, mean[:, 0], rstd[:, 0]


def bias_gelu_quantise(
    x: Tensor, bias: Tensor | None, *, faults: Tensor | None
) -> tuple[Tensor, Tensor]:
    """See `ops.fp8.bias_gelu_quantise`; (codes [T, K], scale [T, 1])."""
    return quantise_rows(gelu(_biased(x, bias)), faults=faults)


def dgelu_quantise(
    dy: Tensor, x: Tensor, bias: Tensor | None, *, fold: Tensor | None, faults: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """See `ops.fp8.dgelu_quantise`; what `quantise_gradient` gives of dy * gelu'(x + bias)."""
    return quantise_gradient(dy.float() * gelu_slope(_biased(x, bias)), fold=fold, faults=faults)


def gelu(x: Tensor) -> Tensor:
    """x Phi(x) with the error function, which is what Hugging Face's `gelu` is; any float dtype."""
    return 0.5 * x * (1 + torch.erf(x * math.sqrt(0.5)))


def gelu_slope(x: Tensor) -> Tensor:
    """Its derivative, Phi(x) + x phi(x)."""
    density = (-0.5 * x * x).exp() / math.sqrt(2 * math.pi)
    return 0.5 * (1 + torch.erf(x * math.sqrt(0.5))) + x * density


def _biased(x: Tensor, bias: Tensor | None) -> Tensor:
    return x.float() if bias is None else x.float() + bias.float()


def _padded(codes: Tensor) -> Tensor:
    """The codes side by side in memory, with zeros behind each row up to the alignment."""
    # torch does not pad FP8 on every device
    plain = codes.view(torch.uint8).contiguous()
    return functional.pad(plain, (0, -codes.shape[1] % ALIGNMENT)).view(codes.dtype)


def _count_faults(rows: Tensor, faults: Tensor | None) -> None:
    if faults is not None:
        faults += (~rows.isfinite().all(dim=-1)).sum()
