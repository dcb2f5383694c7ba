"""Generalised advantages of the response tokens of a batch.

Owns the operator `reft::gae`, registered with torch, its C struct, and the choice of who serves it:
on a GPU a kernel with a warp for each sequence, or plain torch where the library cannot run, which
launches five kernels a column; on a CPU plain torch.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from reft_megatron.ops import kernels
from reft_megatron.ops.reference import gae as reference

__all__ = ["gae"]

_P, _D, _I = ctypes.c_void_p, ctypes.c_double, ctypes.c_int32


class _Gae(ctypes.Structure):
    _fields_ = (
        *(("advantages", _P), ("returns", _P), ("rewards", _P), ("values", _P), ("mask", _P)),
        *(("gamma", _D), ("decay", _D), ("rows", _I), ("columns", _I)),
    )


def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """(advantages, returns), each [B, T] float32, 0 where the mask is False (train_rl_reft.py).

        delta_t = r_t + gamma V_{t+1} - V_t
        A_t     = delta_t + gamma lam A_{t+1}
        R_t     = A_t + V_t

    rewards and values [B, T] float, taken as 0 where mask, [B, T] bool, is False; nothing comes
    after the last column. Computed in float64. Raises ValueError for what does not fit.
    """
    fits = rewards.dim() == 2 and rewards.shape == values.shape == mask.shape
    if not fits or mask.dtype != torch.bool:
        raise ValueError(
            f"rewards {tuple(rewards.shape)}, values {tuple(values.shape)}, mask "
            f"{tuple(mask.shape)} {mask.dtype}; wanted three times [sequences, tokens], the mask "
            "of bool."
        )
    found: tuple[Tensor, Tensor] = torch.ops.reft.gae(rewards, values, mask, gamma=gamma, lam=lam)
    return found


def _by_kernel(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    *,
    gamma: float,
    lam: float,
    library: kernels.Library,
) -> tuple[Tensor, Tensor]:
    rewards, values, mask = rewards.contiguous(), values.contiguous(), mask.contiguous()
    advantages, returns = torch.empty_like(rewards), torch.empty_like(rewards)
    args = _Gae(
        advantages=advantages.data_ptr(),
        returns=returns.data_ptr(),
        rewards=rewards.data_ptr(),
        values=values.data_ptr(),
        mask=mask.data_ptr(),
        gamma=gamma,
        decay=gamma * lam,
        rows=rewards.shape[0],
        columns=rewards.shape[1],
    )
    library.call("reft_gae", args, rewards)
    return advantages, returns


def _cuda(rewards: Tensor, values: Tensor, mask: Tensor, **how: Any) -> Any:
    library = kernels.cuda(rewards.device.index)
    single = rewards.dtype == values.dtype == torch.float32
    if single and isinstance(library, kernels.Library):
        return _by_kernel(rewards, values, mask, **how, library=library)
    return reference.gae(rewards, values, mask, **how)


def _fake(rewards: Tensor, values: Tensor, mask: Tensor, **how: Any) -> tuple[Tensor, Tensor]:
    advantages = torch.empty_like(rewards, dtype=torch.float32)
    return advantages, torch.empty_like(advantages)


kernels.register(
    "gae",
    "(Tensor rewards, Tensor values, Tensor mask, *, float gamma, float lam) -> (Tensor, Tensor)",
    cpu=reference.gae,
    cuda=_cuda,
    fake=_fake,
)
