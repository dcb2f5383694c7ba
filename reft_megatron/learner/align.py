"""The one place that shifts by one, between positions and tokens.

A language model reads token `p` and speaks about token `p + 1`. Everywhere else in this project
entry `t` is about token `t`; only the two functions here know the difference.

Rows may hold several sequences packed end to end. Then a shift carries a value over the seam: the
last position of one sequence seems to predict the first token of the next. That is harmless,
because the first token of a sequence is never counted: it belongs to the prompt, nothing before
it could have predicted it, and every mask and weight is zero there.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["about_tokens", "next_tokens"]


def next_tokens(tokens: Tensor, pad_id: int) -> Tensor:
    """The token each position is to predict: entry `p` is the token at `p + 1`.

    `tokens` [R, L] int64; returns [R, L] int64, the last column `pad_id`.
    """
    return torch.cat([tokens[:, 1:], torch.full_like(tokens[:, :1], pad_id)], dim=1)


def about_tokens(x: Tensor) -> Tensor:
    """Turn outputs per position into outputs per token: entry `t` is `x` at `t - 1`, entry 0 is 0.

    `x` [R, L], any float dtype. A log-prob of `next_tokens` becomes the log-prob of token `t`; a
    value becomes the value of the state before token `t`. Differentiable.
    """
    return functional.pad(x[:, :-1], (1, 0))
