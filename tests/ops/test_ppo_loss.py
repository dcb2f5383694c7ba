"""PPO's losses: the twin is the reference in fp64 within its band; their place in torch's graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from reft_megatron.ops import kernels, ppo_loss
from reft_megatron.ops.reference import ppo_loss as reference
from tests.ops.ppo_scene import LIMITS, scene, wide

BAND = {"rtol": 2e-6, "atol": 2e-6}
"""A few roundings of fp32 a token, of numbers of order 1 whose weights sum to 1."""
SIZES = [0, 1, 255, 1024, 1025, 5000]


def differs(found: tuple[Tensor, Tensor], given: dict[str, Tensor | None]) -> list[str]:
    """Which of sums and gradients, as if a token weighed 1, are out of the band of fp64."""
    wanted = reference.ppo_loss(**wide(given), **LIMITS)
    scales = {"sums": 1, "gradients": given["mask"].numel()}
    return [
        name
        for (name, scale), x, y in zip(scales.items(), found, wanted, strict=True)
        if not torch.allclose(scale * x.cpu().double(), scale * y, **BAND)
    ]


@pytest.mark.parametrize("importance", [True, False])
@pytest.mark.parametrize("tokens", SIZES)
def test_the_twin_is_fp64s_within_the_band(tokens: int, importance: bool):
    given = scene(tokens, importance=importance)
    found = ppo_loss._by_kernel(**given, **LIMITS, library=kernels.host())
    assert differs(found, given) == []


def test_where_both_sides_are_equal_the_twin_is_the_reference():
    """The first update of all: ratios of 1, values as they were, and advantages of 0."""
    given = scene(40)
    given |= {"logprobs": given["old_logprobs"].clone(), "values": given["old_values"].clone()}
    given["advantages"][0, :5] = 0
    assert differs(ppo_loss._by_kernel(**given, **LIMITS, library=kernels.host()), given) == []


def test_the_graph_of_torch_has_them():
    """In fp64, by differences; and the loss alone has a gradient."""
    given = wide(scene(12))
    names = ("weights", "old_logprobs", "old_values", "advantages", "returns", "importance")
    fields = (given["mask"], *(given[name] for name in names))
    leaves = [
        torch.where(given["mask"], given[name], 0.0).requires_grad_()
        for name in ("logprobs", "values")
    ]

    def loss(logprobs: Tensor, values: Tensor) -> Tensor:
        return ppo_loss._PpoLoss.apply(logprobs, values, fields, *LIMITS.values())[0]

    assert torch.autograd.gradcheck(loss, leaves)


def test_nan_shows_where_it_counts():
    given = scene(100)
    token = tuple(given["mask"].nonzero()[0].tolist())
    given["values"][token] = torch.nan
    for sums, gradients in (
        ppo_loss._by_kernel(**given, **LIMITS, library=kernels.host()),
        reference.ppo_loss(**given, **LIMITS),
    ):
        assert sums.isnan().tolist() == [True, False, True, False, False, False]
        assert gradients[1][token].isnan()
        assert gradients.isnan().sum() == 1


def test_tensors_may_lie_apart():
    given = scene(300)
    apart = {name: torch.stack([x, x], dim=-1)[..., 0] for name, x in given.items()}
    library = kernels.host()
    whole, same = (ppo_loss._by_kernel(**x, **LIMITS, library=library) for x in (given, apart))
    assert all(map(torch.equal, whole, same))


def test_the_operator_is_what_torch_expects():
    given = scene(10)
    first = (given.pop("logprobs"), given.pop("values"))
    torch.library.opcheck(torch.ops.reft.ppo_loss, first, given | LIMITS)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"returns": torch.ones(3, 2)}, r"returns \(3, 2\) torch.float32; wanted \(2, 5\)"),
        ({"values": torch.ones(2, 5).double()}, r"values \(2, 5\) torch.float64; wanted"),
        ({"mask": torch.ones(2, 5)}, r"mask \(2, 5\) torch.float32; wanted \(2, 5\) torch.bool"),
        ({"importance": torch.ones(1)}, r"importance \(1,\) torch.float32; wanted"),
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict[str, Tensor], told: str):
    with pytest.raises(ValueError, match=told):
        ppo_loss.ppo_sums(**scene(10) | wrong, **LIMITS)


def everywhere(device: str) -> list[str]:
    """What a device's operator gives that is out of its band; a play of tests/gpu.py."""
    wrong = []
    for tokens in SIZES:
        given = scene(tokens)
        there = {name: x.to(device) for name, x in given.items()}
        wrong += differs(torch.ops.reft.ppo_loss(**there, **LIMITS), given)
    return wrong


def test_it_holds_on_this_processor():
    assert everywhere("cpu") == []


def test_it_holds_on_a_gpu(on_gpu: Callable[..., Any]):
    assert on_gpu(everywhere, "cuda") == []
