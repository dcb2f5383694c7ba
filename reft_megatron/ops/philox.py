"""Philox4x32-10: random bits as a pure function of key and counter.

Owns the counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
2011) in plain tensor arithmetic, so that the same (key, counter) gives the same bits on every
device, batch size and parallel layout. Checked against the paper's known-answer vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["gumbel", "philox"]

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_MASK = 0xFFFFFFFF


def philox(key: tuple[Tensor, Tensor], counter: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Four 32-bit words (int64 tensors in [0, 2^32)) for each counter under each key.

    `key` two and `counter` four int64 tensors holding 32-bit words, broadcastable together.
    """
    k0, k1 = key
    c0, c1, c2, c3 = counter
    for step in range(10):
        if step:
            k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
        # int64 products wrap modulo 2^64, so both halves keep their exact bits.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((p1 >> 32) & _MASK) ^ c1 ^ k0,
            p1 & _MASK,
            ((p0 >> 32) & _MASK) ^ c3 ^ k1,
            p0 & _MASK,
        )
    return c0, c1, c2, c3


def gumbel(keys: Tensor, positions: Tensor, *, start: int, count: int) -> Tensor:
    """Standard Gumbel noise fp32 [B, count] for vocabulary rows start .. start + count - 1.

    keys int64 [B, 2] (32-bit words), positions int64 [B]. The noise of row v depends on
    (key, position, v) alone. Uniforms keep 23 bits, so that none rounds to 0 or 1.
    """
    blocks = torch.arange(start // 4, (start + count + 3) // 4, device=keys.device)
    zero = torch.zeros((), dtype=torch.int64, device=keys.device)
    words = philox((keys[:, :1], keys[:, 1:]), (blocks[None, :], positions[:, None], zero, zero))
    # A block is four rows; the first may begin before `start`.
    bits = torch.stack(words, dim=-1).flatten(1)[:, start % 4 :][:, :count]
    uniform = ((bits >> 9).float() + 0.5) * 2.0**-23
    return -(-uniform.log()).log()
