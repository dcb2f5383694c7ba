"""Softmax over a shard: the twin and the operator against fp64, shards, and refusals."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from reft_megatron.ops import kernels, softmax
from reft_megatron.ops.reference import softmax as reference
from reft_megatron.ops.softmax import Softmax

TWIN = {"library": kernels.host()}
BAND = {"rtol": 0, "atol": 1e-5}
"""fp8.md's, for log-probs and entropies of fp32 logits."""


def scene(rows: int, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Logits with padding behind and targets, a few of other shards."""
    draw = torch.Generator().manual_seed(vocabulary)
    logits = 4 * torch.randn(rows, vocabulary, generator=draw) + 10
    logits[:, vocabulary - vocabulary // 9 :] = -torch.inf
    return logits, torch.randint(0, max(vocabulary // 2, 1), (rows,), generator=draw)


def told(parts: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """(log-prob, entropy) of one shard that has everything."""
    top, total, shifted, picked = (part.cpu().double() for part in parts)
    return picked - (top + total.log()), total.log() - shifted / total


def differs(found: tuple[Tensor, ...], logits: Tensor, targets: Tensor) -> list[str]:
    """Which of them are out of the band."""
    wanted = told(reference.softmax(logits.double(), targets, start=0))
    pairs = zip(("log-prob", "entropy"), told(found), wanted, strict=True)
    return [name for name, ours, its in pairs if not torch.allclose(ours, its, **BAND)]


@pytest.mark.parametrize("vocabulary", [1, 9, 511, 513, 5000])
def test_the_twin_is_fp64s_within_the_band(vocabulary: int):
    logits, targets = scene(30, vocabulary)
    assert differs(softmax._by_kernel(logits, targets, start=0, **TWIN), logits, targets) == []


@pytest.mark.parametrize("by", ["twin", "torch"])
def test_shards_add_up_to_the_whole(by: str):
    """Four of them, one of padding alone: merged as the ranks do."""
    logits, targets = scene(30, 900)
    call = {"twin": softmax._by_kernel, "torch": reference.softmax}[by]
    how = TWIN if by == "twin" else {}
    cuts = [0, 1, 450, 820, 900]
    parts = [
        Softmax(*call(logits[:, begin:end], targets, start=begin, **how))
        for begin, end in itertools.pairwise(cuts)
    ]
    assert (parts[3].top == -torch.inf).all()
    assert not parts[3].sum.any()
    assert not parts[3].shifted.any()
    assert all(torch.isfinite(part.shifted).all() for part in parts)
    top = torch.stack([part.top for part in parts]).amax(0)
    total, shifted = (torch.zeros(30) for _ in range(2))
    for part in parts[:3]:
        factor = (part.top - top).exp()
        total += factor * part.sum
        shifted += factor * (part.shifted + (part.top - top) * part.sum)
    picked = torch.stack([part.picked for part in parts]).sum(0)
    assert differs((top, total, shifted, picked), logits, targets) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("start", [0, 100])
def test_the_gradient_is_the_references(start: int, dtype: torch.dtype):
    logits, targets = scene(30, 600)
    how: dict[str, Any] = {"log_sum": logits.logsumexp(-1), "gradient": torch.linspace(-1, 1, 30)}
    how |= {"start": start, "dtype": dtype}
    found = softmax._gradient_by_kernel(logits, targets, **how, **TWIN)
    wide = how | {name: how[name].double() for name in ("log_sum", "gradient")}
    wanted = reference.softmax_gradient(logits.double(), targets, **wide | {"dtype": torch.float64})
    assert found.dtype == dtype
    band = {torch.float32: 1e-6, torch.bfloat16: 4e-3}[dtype]
    torch.testing.assert_close(found.double(), wanted, rtol=band, atol=1e-6)
    assert not found[:, 600 - 600 // 9 :].any()


class FromFormulas(torch.autograd.Function):
    """The log-probs of `ops.logprob`, with the reference's formulas both ways."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        top, total, _, picked = reference.softmax(logits, targets, start=0)
        ctx.save_for_backward(logits, targets, top + total.log())
        return picked - top - total.log()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        logits, targets, log_sum = ctx.saved_tensors
        how: dict[str, Any] = {"log_sum": log_sum, "gradient": gradient, "start": 0}
        return reference.softmax_gradient(logits, targets, **how, dtype=logits.dtype), None


def test_the_gradient_is_the_derivative():
    """In fp64, by differences."""
    logits, targets = scene(6, 8)
    leaf = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda logits: FromFormulas.apply(logits, targets), leaf)


def test_nan_shows():
    logits, targets = scene(3, 700)
    logits[1, 300] = torch.nan
    for parts in (
        softmax._by_kernel(logits, targets, start=0, **TWIN),
        softmax.softmax(logits, targets, start=0),
    ):
        assert torch.stack(told(parts)).isnan().any(dim=0).tolist() == [False, True, False]


def test_rows_may_lie_apart():
    logits, targets = scene(6, 80)
    wide = torch.full((6, 100), torch.nan)
    wide[:, 7:87] = logits
    whole = softmax._by_kernel(logits, targets, start=0, **TWIN)
    for strided in (wide[:, 7:87], logits.t().contiguous().t()):
        assert all(map(torch.equal, softmax._by_kernel(strided, targets, start=0, **TWIN), whole))


def test_the_operators_are_what_torch_expects():
    logits, targets = scene(4, 30)
    torch.library.opcheck(torch.ops.reft.softmax, (logits, targets), {"start": 0})
    how = {"log_sum": logits.logsumexp(-1), "gradient": torch.ones(4), "start": 0}
    how["dtype"] = torch.bfloat16
    torch.library.opcheck(torch.ops.reft.softmax_gradient, (logits, targets), how)


LOGITS, TARGETS = scene(2, 12)
GRADIENT = {"log_sum": torch.ones(2), "gradient": torch.ones(2), "dtype": torch.float32}
REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: softmax.softmax(LOGITS.double(), TARGETS, start=0), "logits (2, 12) torch.float64"),
    (lambda: softmax.softmax(LOGITS[:, :0], TARGETS, start=0), "logits (2, 0) torch.float32"),
    (lambda: softmax.softmax(LOGITS, TARGETS[:1], start=0), "logits (2, 12) torch.float32, target"),
    (lambda: softmax.softmax(LOGITS, TARGETS, start=-1), "logits (2, 12) torch.float32, target"),
    (
        lambda: softmax.softmax_gradient(
            LOGITS, TARGETS, start=0, **GRADIENT | {"log_sum": torch.ones(3)}
        ),
        "log_sum (3,) torch.float32",
    ),
    (
        lambda: softmax.softmax_gradient(
            LOGITS, TARGETS, start=0, **GRADIENT | {"dtype": torch.float16}
        ),
        "a gradient in torch.float16",
    ),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_does_not_fit_is_refused(call: Callable[[], Any], message: str):
    with pytest.raises(ValueError, match=r"; wanted ") as refused:
        call()
    assert str(refused.value).startswith(message)


def everywhere(device: str) -> list[str]:
    """What a device's operators give that is out of its band; a play of tests/gpu.py."""
    wrong = []
    for vocabulary in (9, 511, 5000):
        logits, targets = scene(40, vocabulary)
        there = [x.to(device) for x in (logits, targets)]
        wrong += differs(softmax.softmax(*there, start=0), logits, targets)
        how: dict[str, Any] = {"log_sum": logits.logsumexp(-1), "gradient": torch.ones(40)}
        wanted = reference.softmax_gradient(logits, targets, **how, start=0, dtype=torch.float32)
        how = {name: x.to(device) for name, x in how.items()}
        found = softmax.softmax_gradient(*there, **how, start=0, dtype=torch.float32).cpu()
        wrong += [] if torch.allclose(found, wanted, **BAND) else [f"gradient of {vocabulary}"]
    return wrong


def test_it_holds_on_this_processor():
    assert everywhere("cpu") == []


def test_it_holds_on_a_gpu(on_gpu: Callable[..., Any]):
    assert on_gpu(everywhere, "cuda") == []
