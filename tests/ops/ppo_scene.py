"""Tokens for PPO's losses, of which half are clipped and some do not count."""

from __future__ import annotations

import torch
from torch import Tensor

LIMITS = {"clip_range": 0.2, "value_coef": 5.0}


def scene(tokens: int, *, importance: bool = True) -> dict[str, Tensor | None]:
    """Rows of two, with NaN where nothing counts; half of the ratios and values are clipped."""
    draw = torch.Generator().manual_seed(tokens)
    shape = (2, tokens // 2) if tokens % 2 == 0 else (1, tokens)

    def noise(scale: float) -> Tensor:
        return scale * torch.randn(shape, generator=draw)

    old, old_values = noise(1), noise(1)
    found = {"logprobs": old + noise(0.3), "values": old_values + noise(0.3)}
    found |= {"weights": torch.full(shape, 1 / max(tokens, 1)), "old_logprobs": old}
    found |= {"old_values": old_values, "advantages": noise(1), "returns": noise(1)}
    found |= {"importance": noise(0.3).exp()} if importance else {}
    mask = torch.rand(shape, generator=draw) < 0.8
    counted = {name: torch.where(mask, x, torch.nan) for name, x in found.items()}
    return {"importance": None, **counted, "mask": mask}


def wide(given: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
    return {
        name: x.double() if x is not None and name != "mask" else x for name, x in given.items()
    }
