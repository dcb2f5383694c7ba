"""The draw of a token: Gumbel maximum and log-sum-exp over a row of logits.

Owns the operator `reft::draw`, registered with torch, and the choice of who serves it. On a GPU the
kernel of csrc/kernels does all in one pass, or plain torch where that library cannot run. On a CPU
the host twin draws, as the noise alone is dozens of passes over [B, V] in tensor arithmetic; torch
does the rest, the log-sum-exp and what is greedy. Backends differ in the last bits of logarithms,
so two of them may part at near ties. Knows one shard of the vocabulary; what ranks tell each other
is `ops.sampling`'s.

Legend: B rows of a batch, V vocabulary rows of this shard.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reft_megatron.ops import kernels
from reft_megatron.ops.reference import drawing as reference

__all__ = ["Drawn", "draw"]


_P, _L, _I, _F = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_float


class _Draw(ctypes.Structure):
    _fields_ = (
        *(("logits", _P), ("row_stride", _L), ("keys", _P), ("positions", _P)),
        *(("scores", _P), ("tokens", _P), ("chosen", _P), ("log_sums", _P)),
        *(("batch", _I), ("vocabulary", _I), ("start", _I), ("greedy", _I), ("temperature", _F)),
    )


class Drawn(NamedTuple):
    """What a shard says of each row, all [B]; fp32 but for the token."""

    score: Tensor
    """logit / temperature + noise of the token."""
    token: Tensor
    """int64, counted from the start of the whole vocabulary."""
    logit: Tensor
    """logit / temperature of the token."""
    log_sum: Tensor
    """log of the sum of e^(logit / temperature) over the shard's rows."""


def draw(
    logits: Tensor,
    keys: Tensor,
    positions: Tensor,
    *,
    start: int = 0,
    temperature: float = 1.0,
    greedy: bool = False,
) -> Drawn:
    """The first token of the largest logit / temperature + noise in each row.

    logits fp32 [B, V], of the vocabulary's rows start .. start + V - 1; -inf is never drawn unless
    there is nothing else. keys int64 [B, 2] and positions int64 [B] as `ops.philox.gumbel` takes
    them; greedy has no noise. Raises ValueError for what does not fit, and ConfigError on a CPU
    whose twin is not built.
    """
    rows = len(logits)
    fits = logits.dim() == 2 and logits.dtype == torch.float32 and logits.shape[1] > 0
    if not fits or temperature <= 0 or start < 0:
        raise ValueError(
            f"logits {tuple(logits.shape)} {logits.dtype}, temperature {temperature}, start "
            f"{start}; wanted [rows, vocabulary] float32, above 0, and 0 or more."
        )
    shapes = (tuple(keys.shape), tuple(positions.shape))
    if shapes != ((rows, 2), (rows,)) or {keys.dtype, positions.dtype} != {torch.int64}:
        raise ValueError(
            f"keys {shapes[0]} {keys.dtype}, positions {shapes[1]} {positions.dtype}; wanted "
            f"({rows}, 2) and ({rows},), int64."
        )
    return Drawn(
        *torch.ops.reft.draw(
            logits, keys, positions, start=start, temperature=temperature, greedy=greedy
        )
    )


def _by_kernel(
    logits: Tensor,
    keys: Tensor,
    positions: Tensor,
    *,
    start: int,
    temperature: float,
    greedy: bool,
    library: kernels.Library,
    sums: bool = True,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`draw`; `sums` false computes no log-sum-exp."""
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
    library.call("reft_draw", args, logits)
    return scores, tokens, chosen, log_sums


def _draw_cpu(logits: Tensor, keys: Tensor, positions: Tensor, **how: Any) -> Any:
    if how["greedy"]:
        return reference.draw(logits, keys, positions, **how)
    # torch sums exponentials eight at a time, which the twin does not.
    score, token, logit, _ = _by_kernel(
        logits, keys, positions, **how, library=kernels.host(), sums=False
    )
    if how["temperature"] != 1:  # a pass over all logits
        logits = logits / how["temperature"]
    return score, token, logit, torch.logsumexp(logits, dim=-1)


def _draw_cuda(logits: Tensor, keys: Tensor, positions: Tensor, **how: Any) -> Any:
    library = kernels.cuda(logits.device.index)
    if isinstance(library, kernels.Library):
        return _by_kernel(logits, keys, positions, **how, library=library)
    return reference.draw(logits, keys, positions, **how)


def _draw_fake(logits: Tensor, keys: Tensor, positions: Tensor, **how: Any) -> Any:
    score, logit, log_sum = (logits.new_empty(len(logits)) for _ in range(3))
    return score, positions.new_empty(len(logits)), logit, log_sum


kernels.register(
    "draw",
    "(Tensor logits, Tensor keys, Tensor positions, *, SymInt start, float temperature, "
    "bool greedy) -> (Tensor, Tensor, Tensor, Tensor)",
    cpu=_draw_cpu,
    cuda=_draw_cuda,
    fake=_draw_fake,
)
