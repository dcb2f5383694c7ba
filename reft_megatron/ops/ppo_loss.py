"""PPO's clipped policy and value losses, with their gradients.

Owns the operator `reft::ppo_loss`, registered with torch, its C struct, its place in torch's graph,
and the choice of who serves it: on a GPU two kernels for all of it, or plain torch where the
library cannot run; on a CPU plain torch. Losses and gradients come of one pass, as the losses are
never wanted without.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from reft_megatron.ops import kernels
from reft_megatron.ops.reference import ppo_loss as reference

__all__ = ["SUMS", "ppo_sums"]

SUMS = ("loss", "pg_loss", "vf_loss", "ratio", "approx_kl", "clip_fraction")
"""What is summed."""
_PART = 1024
"""REFT_PART_TOKENS of the header."""
_FIELDS = ("weights", "old_logprobs", "old_values", "advantages", "returns", "importance")
_P, _D, _I = ctypes.c_void_p, ctypes.c_double, ctypes.c_int32


class _PpoLossArgs(ctypes.Structure):
    _fields_ = (
        *(("sums", _P), ("logprob_gradients", _P), ("value_gradients", _P), ("parts", _P)),
        *(("logprobs", _P), ("values", _P), ("mask", _P)),
        *((name, _P) for name in _FIELDS),
        *(("clip_range", _D), ("value_coef", _D), ("tokens", _I)),
    )


def ppo_sums(
    logprobs: Tensor,
    values: Tensor,
    *,
    mask: Tensor,
    weights: Tensor,
    old_logprobs: Tensor,
    old_values: Tensor,
    advantages: Tensor,
    returns: Tensor,
    importance: Tensor | None,
    clip_range: float,
    value_coef: float,
) -> Tensor:
    """Weighted sums over tokens, [6] fp32, as SUMS names them (train_rl_reft.py).

        rho  = exp(logprobs - old_logprobs)
        L_pg = sum w c max(-A rho, -A clip(rho, 1 - eps, 1 + eps))
        L_vf = 1/2 sum w max((V - R)^2, (clip(V, V_old - eps, V_old + eps) - R)^2)

    and loss = L_pg + value_coef * L_vf; importance is the c, without it 1. All [R, L] fp32, mask
    bool; where it is False a token adds nothing, even NaN. Gradients flow through the loss, to
    logprobs and values. Raises ValueError for what does not fit.
    """
    given = {"values": values, "weights": weights, "old_logprobs": old_logprobs}
    given |= {"old_values": old_values, "advantages": advantages, "returns": returns}
    given |= {} if importance is None else {"importance": importance}
    for name, x in {"logprobs": logprobs, **given, "mask": mask}.items():
        wanted = torch.bool if name == "mask" else torch.float32
        if x.shape != logprobs.shape or x.dtype != wanted:
            raise ValueError(
                f"{name} {tuple(x.shape)} {x.dtype}; wanted {tuple(logprobs.shape)} {wanted}."
            )
    fields = (mask, weights, old_logprobs, old_values, advantages, returns, importance)
    # torch does not type what `apply` takes or returns
    apply: Any = _PpoLoss.apply
    sums: Tensor = apply(logprobs, values, fields, clip_range, value_coef)
    return sums


class _PpoLoss(torch.autograd.Function):
    """Forward has the gradients already; backward scales them."""

    @staticmethod
    def forward(
        ctx: Any,
        logprobs: Tensor,
        values: Tensor,
        fields: tuple[Tensor | None, ...],
        clip_range: float,
        value_coef: float,
    ) -> Tensor:
        named = dict(zip(("mask", *_FIELDS), fields, strict=True))
        limits = {"clip_range": clip_range, "value_coef": value_coef}
        found: tuple[Tensor, Tensor] = torch.ops.reft.ppo_loss(logprobs, values, **named, **limits)
        sums, gradients = found
        ctx.save_for_backward(gradients)
        return sums

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (gradients,) = ctx.saved_tensors
        by_logprobs, by_values = (grads[0][0] * gradients).unbind()
        return by_logprobs, by_values, None, None, None


def _by_kernel(
    logprobs: Tensor,
    values: Tensor,
    *,
    clip_range: float,
    value_coef: float,
    library: kernels.Library,
    **fields: Tensor | None,
) -> tuple[Tensor, Tensor]:
    given = {"logprobs": logprobs, "values": values, **fields}
    # Held by name until the call: a pointer does not hold.
    lying = {name: None if x is None else x.contiguous() for name, x in given.items()}
    sums, gradients = logprobs.new_empty(len(SUMS)), logprobs.new_empty(2, *logprobs.shape)
    count = logprobs.numel()
    parts = logprobs.new_empty(-(-count // _PART), len(SUMS) - 1, dtype=torch.float64)
    args = _PpoLossArgs(
        sums=sums.data_ptr(),
        logprob_gradients=gradients[0].data_ptr(),
        value_gradients=gradients[1].data_ptr(),
        parts=parts.data_ptr(),
        clip_range=clip_range,
        value_coef=value_coef,
        tokens=count,
        **{name: None if x is None else x.data_ptr() for name, x in lying.items()},
    )
    library.call("reft_ppo_loss", args, logprobs)
    return sums, gradients


def _cuda(logprobs: Tensor, values: Tensor, **how: Any) -> Any:
    library = kernels.cuda(logprobs.device.index)
    if isinstance(library, kernels.Library):
        return _by_kernel(logprobs, values, **how, library=library)
    return reference.ppo_loss(logprobs, values, **how)


def _fake(logprobs: Tensor, values: Tensor, **how: Any) -> tuple[Tensor, Tensor]:
    return logprobs.new_empty(len(SUMS)), logprobs.new_empty(2, *logprobs.shape)


kernels.register(
    "ppo_loss",
    "(Tensor logprobs, Tensor values, *, Tensor mask, Tensor weights, Tensor old_logprobs, "
    "Tensor old_values, Tensor advantages, Tensor returns, Tensor? importance, float clip_range, "
    "float value_coef) -> (Tensor, Tensor)",
    cpu=reference.ppo_loss,
    cuda=_cuda,
    fake=_fake,
)
