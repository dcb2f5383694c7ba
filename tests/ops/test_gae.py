"""Generalised advantages: the twin and the operator are the reference bit for bit; refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from reft_megatron.ops import gae, kernels
from reft_megatron.ops.reference import gae as reference

HOW = {"gamma": 0.97, "lam": 0.95}
SHAPES = [(1, 1), (5, 31), (4, 32), (3, 33), (6, 100), (2, 0), (0, 7)]


def scene(rows: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """Responses between prompts and padding, where NaN stands; a row has none."""
    draw = torch.Generator().manual_seed(rows * columns)
    rewards, values = (torch.randn(rows, columns, generator=draw) for _ in range(2))
    place = torch.arange(columns).expand(rows, -1)
    begin = torch.randint(0, columns + 1, (rows, 1), generator=draw)
    mask = (place >= begin) & (place < columns - begin // 3)
    return *(torch.where(mask, x, torch.nan) for x in (rewards, values)), mask


def differs(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> bool:
    return not all(torch.equal(ours.cpu(), its) for ours, its in zip(found, wanted, strict=True))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_twin_is_the_reference_bit_for_bit(shape: tuple[int, int]):
    given = scene(*shape)
    found = gae._by_kernel(*given, **HOW, library=kernels.host())
    assert not differs(found, reference.gae(*given, **HOW))


def test_tensors_may_lie_apart():
    given = scene(6, 40)
    wide = [torch.stack([x, x], dim=-1)[..., 0] for x in given]
    assert not any(x.is_contiguous() for x in wide)
    found = gae._by_kernel(*wide, **HOW, library=kernels.host())
    assert not differs(found, reference.gae(*given, **HOW))


def test_the_operator_is_what_torch_expects():
    torch.library.opcheck(torch.ops.reft.gae, scene(3, 5), HOW)


@pytest.mark.parametrize("wrong", [{"values": torch.ones(2, 3)}, {"mask": torch.ones(2, 2)}])
def test_what_does_not_fit_is_refused(wrong: dict[str, Tensor]):
    ones = torch.ones(2, 2)
    given = {"rewards": ones, "values": ones, "mask": ones.bool()} | wrong
    with pytest.raises(ValueError, match=r"^rewards \(2, 2\), values .*; wanted three times "):
        gae.gae(**given, **HOW)


def everywhere(device: str) -> list[tuple[int, int]]:
    """Shapes of which a device's operator gives something else; a play of tests/gpu.py."""
    return [
        shape
        for shape in SHAPES
        if differs(
            gae.gae(*(x.to(device) for x in scene(*shape)), **HOW),
            reference.gae(*scene(*shape), **HOW),
        )
    ]


def test_it_holds_on_this_processor():
    assert everywhere("cpu") == []


def test_it_holds_on_a_gpu(on_gpu: Callable[..., Any]):
    assert on_gpu(everywhere, "cuda") == []
