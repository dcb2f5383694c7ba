"""Softmax over a shard of the vocabulary: its sums, and the gradient of logits.

Owns the operators `reft::softmax` and `reft::softmax_gradient`, registered with torch, their C
structs, and the choice of who serves them: on a GPU kernels that pass over the logits once, or
plain torch where the library cannot run; on a CPU plain torch, whose exponentials are eight at a
time. What ranks tell each other, and the product that logits come from, is `ops.logprob`'s.

Legend: n tokens, V vocabulary rows of this shard.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reft_megatron.ops import kernels
from reft_megatron.ops.reference import softmax as reference

__all__ = ["Softmax", "softmax", "softmax_gradient"]

_P, _L, _I = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32


class _Softmax(ctypes.Structure):
    _fields_ = (
        *(("logits", _P), ("row_stride", _L), ("targets", _P)),
        *(("tops", _P), ("sums", _P), ("shifted", _P), ("picked", _P)),
        *(("rows", _I), ("columns", _I), ("start", _I)),
    )


class _SoftmaxGradient(ctypes.Structure):
    _fields_ = (
        *(("out", _P), ("logits", _P), ("row_stride", _L), ("targets", _P)),
        *(("log_sums", _P), ("gradients", _P)),
        *(("rows", _I), ("columns", _I), ("start", _I), ("dtype", _I)),
    )


class Softmax(NamedTuple):
    """What a shard adds to each row's softmax, all fp32 [n]."""

    top: Tensor
    """The largest logit; -inf where all are."""
    sum: Tensor
    """Sum of e^(l - top)."""
    shifted: Tensor
    """Sum of (l - top) e^(l - top), for the entropy."""
    picked: Tensor
    """The target's logit; 0 where another shard has it."""


def softmax(logits: Tensor, targets: Tensor, *, start: int) -> Softmax:
    """What the vocabulary's rows start .. start + V - 1 add.

    logits fp32 [n, V]; -inf adds nothing. targets int64 [n], counted from the start of the whole
    vocabulary. Raises ValueError for what does not fit.
    """
    _check(logits, targets, start)
    return Softmax(*torch.ops.reft.softmax(logits, targets, start=start))


def softmax_gradient(
    logits: Tensor,
    targets: Tensor,
    *,
    log_sum: Tensor,
    gradient: Tensor,
    start: int,
    dtype: torch.dtype,
) -> Tensor:
    """gradient * (1 at the target - e^(l - log_sum)), [n, V] in `dtype`, bf16 or fp32.

    logits, targets and start as in `softmax`; log_sum fp32 [n] of the whole vocabulary, gradient
    fp32 [n] of the log-probs of the targets. Raises ValueError for what does not fit.
    """
    _check(logits, targets, start)
    for name, vector in (("log_sum", log_sum), ("gradient", gradient)):
        if vector.shape != targets.shape or vector.dtype != torch.float32:
            raise ValueError(
                f"{name} {tuple(vector.shape)} {vector.dtype}; wanted [{len(targets)}], float32."
            )
    if dtype not in (torch.bfloat16, torch.float32):
        raise ValueError(f"a gradient in {dtype}; wanted bfloat16 or float32.")
    out: Tensor = torch.ops.reft.softmax_gradient(
        logits, targets, log_sum=log_sum, gradient=gradient, start=start, dtype=dtype
    )
    return out


def _check(logits: Tensor, targets: Tensor, start: int) -> None:
    fits = logits.dim() == 2 and logits.dtype == torch.float32 and logits.shape[1] > 0
    if not fits or start < 0 or targets.shape != logits.shape[:1] or targets.dtype != torch.int64:
        raise ValueError(
            f"logits {tuple(logits.shape)} {logits.dtype}, targets {tuple(targets.shape)} "
            f"{targets.dtype}, start {start}; wanted [tokens, vocabulary] float32, [tokens] int64, "
            "and 0 or more."
        )


def _by_kernel(
    logits: Tensor, targets: Tensor, *, start: int, library: kernels.Library
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    logits, targets = _rows(logits), targets.contiguous()
    top, total, shifted, picked = (logits.new_empty(len(logits)) for _ in range(4))
    args = _Softmax(
        logits=logits.data_ptr(),
        row_stride=logits.stride(0),
        targets=targets.data_ptr(),
        tops=top.data_ptr(),
        sums=total.data_ptr(),
        shifted=shifted.data_ptr(),
        picked=picked.data_ptr(),
        rows=logits.shape[0],
        columns=logits.shape[1],
        start=start,
    )
    library.call("reft_softmax", args, logits)
    return top, total, shifted, picked


def _gradient_by_kernel(
    logits: Tensor,
    targets: Tensor,
    *,
    log_sum: Tensor,
    gradient: Tensor,
    start: int,
    dtype: torch.dtype,
    library: kernels.Library,
) -> Tensor:
    logits = _rows(logits)
    targets, log_sum, gradient = (x.contiguous() for x in (targets, log_sum, gradient))
    out = torch.empty(logits.shape, dtype=dtype, device=logits.device)
    args = _SoftmaxGradient(
        out=out.data_ptr(),
        logits=logits.data_ptr(),
        row_stride=logits.stride(0),
        targets=targets.data_ptr(),
        log_sums=log_sum.data_ptr(),
        gradients=gradient.data_ptr(),
        rows=logits.shape[0],
        columns=logits.shape[1],
        start=start,
        dtype=kernels.DTYPES[dtype],
    )
    library.call("reft_softmax_gradient", args, logits)
    return out


def _rows(logits: Tensor) -> Tensor:
    return logits if logits.stride(1) == 1 else logits.contiguous()


def _softmax_cuda(logits: Tensor, targets: Tensor, **how: Any) -> Any:
    library = kernels.cuda(logits.device.index)
    if isinstance(library, kernels.Library):
        return _by_kernel(logits, targets, **how, library=library)
    return reference.softmax(logits, targets, **how)


def _softmax_gradient_cuda(logits: Tensor, targets: Tensor, **how: Any) -> Any:
    library = kernels.cuda(logits.device.index)
    if isinstance(library, kernels.Library):
        return _gradient_by_kernel(logits, targets, **how, library=library)
    return reference.softmax_gradient(logits, targets, **how)


def _softmax_fake(logits: Tensor, targets: Tensor, **how: Any) -> Any:
    return tuple(logits.new_empty(len(logits)) for _ in range(4))


def _softmax_gradient_fake(
    logits: Tensor, targets: Tensor, *, dtype: torch.dtype, **how: Any
) -> Tensor:
    return logits.new_empty(logits.shape, dtype=dtype)


kernels.register(
    "softmax",
    "(Tensor logits, Tensor targets, *, SymInt start) -> (Tensor, Tensor, Tensor, Tensor)",
    cpu=reference.softmax,
    cuda=_softmax_cuda,
    fake=_softmax_fake,
)
kernels.register(
    "softmax_gradient",
    "(Tensor logits, Tensor targets, *, Tensor log_sum, Tensor gradient, SymInt start, "
    "ScalarType dtype) -> Tensor",
    cpu=reference.softmax_gradient,
    cuda=_softmax_gradient_cuda,
    fake=_softmax_gradient_fake,
)
