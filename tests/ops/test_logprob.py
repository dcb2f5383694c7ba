"""Log-probs in chunks against the plain ones: values, gradients, padding, shards, memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from reft_megatron.config import ParallelConfig
from reft_megatron.ops.logprob import VocabShard, linear_logprob, project, reference_logprob
from reft_megatron.policy import join

N, H, K, V = 23, 8, 50, 64
"""Tokens, hidden, real tokens, rows with padding."""


def inputs() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    return {
        "hidden": torch.randn(N, H, generator=draw),
        "weight": torch.randn(V, H, generator=draw),
        "targets": torch.randint(0, K, (N,), generator=draw),
        "grad": torch.randn(N, generator=draw),
    }


def reference() -> dict[str, torch.Tensor]:
    x = inputs()
    hidden = x["hidden"].requires_grad_()
    weight = x["weight"][:K].clone().requires_grad_()
    logprob, entropy = reference_logprob(hidden, weight, x["targets"])
    logprob.backward(x["grad"])
    return {"logprob": logprob, "entropy": entropy, "hidden": hidden.grad, "weight": weight.grad}


def chunked(shard: VocabShard, rows: slice, chunk: int) -> dict[str, torch.Tensor]:
    """The same through `linear_logprob`, with these rows of the vocabulary."""
    x = inputs()
    hidden = x["hidden"].requires_grad_()
    weight = x["weight"][rows].clone().requires_grad_()
    logprob, entropy = linear_logprob(hidden, weight, x["targets"], shard=shard, chunk=chunk)
    assert not entropy.requires_grad
    logprob.backward(x["grad"])
    return {
        "logprob": logprob.detach(),
        "entropy": entropy,
        "hidden": hidden.grad,
        "weight": weight.grad,
    }


def test_the_reference_agrees_with_numbers_by_hand():
    hidden = torch.tensor([[1.0, 0.0]])
    weight = torch.tensor([[1.0, 5.0], [0.0, 7.0], [0.0, 9.0]])
    logprob, entropy = reference_logprob(hidden, weight, torch.tensor([0]))
    # softmax of (1, 0, 0): e / (e + 2) and twice 1 / (e + 2)
    assert logprob.item() == pytest.approx(-0.5514447139)
    assert entropy.item() == pytest.approx(0.9753278, rel=1e-6)


@pytest.mark.parametrize("rows", [K, V], ids=["no padding", "padding"])
@pytest.mark.parametrize("chunk", [1, 7, 23, 1000])
def test_chunks_give_the_reference(chunk: int, rows: int):
    found = chunked(VocabShard(start=0, real=K, group=None), slice(0, rows), chunk)
    wanted = reference()
    for name in ("logprob", "entropy", "hidden"):
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found["weight"][:K], wanted["weight"], rtol=1e-5, atol=1e-5)
    assert not found["weight"][K:].any(), "padding learns nothing"


def play_two_shards(cut: int) -> dict[str, torch.Tensor]:
    mesh = join(ParallelConfig(tensor=2), seed=0, timeout_s=300, threads=1)
    begin, end = ((0, cut), (cut, V))[mesh.tensor.rank]
    shard = VocabShard(start=begin, real=K, group=mesh.tensor.group)
    return chunked(shard, slice(begin, end), 7)


@pytest.mark.megatron
@pytest.mark.parametrize("cut", [32, 56], ids=["half", "second shard all padding"])
def test_two_shards_give_the_reference(ranks, cut: int):
    seen = ranks(2, play_two_shards, cut)
    wanted = reference()
    for rank in seen:
        for name in ("logprob", "entropy"):
            torch.testing.assert_close(rank[name], wanted[name], rtol=1e-5, atol=1e-5)
    # Each rank has the part of the hidden gradient that its own rows make.
    whole = seen[0]["hidden"] + seen[1]["hidden"]
    torch.testing.assert_close(whole, wanted["hidden"], rtol=1e-5, atol=1e-5)
    rows = torch.cat([rank["weight"] for rank in seen])
    torch.testing.assert_close(rows[:K], wanted["weight"], rtol=1e-5, atol=1e-5)
    assert not rows[K:].any()


def test_bf16_loses_little():
    """The product is kept in fp32: the error is that of rounding the inputs, not the logits."""
    x = inputs()
    hidden, weight = x["hidden"].bfloat16(), x["weight"].bfloat16()
    shard = VocabShard(start=0, real=K, group=None)
    logits = project(hidden, weight, shard)
    assert logits.dtype == torch.float32
    logprob, entropy = linear_logprob(hidden, weight, x["targets"], shard=shard, chunk=7)
    wanted, its_entropy = reference_logprob(hidden, weight[:K], x["targets"])
    torch.testing.assert_close(logprob, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(entropy, its_entropy, rtol=1e-5, atol=1e-5)
    hidden.requires_grad_()
    linear_logprob(hidden, weight, x["targets"], shard=shard, chunk=7)[0].backward(x["grad"])
    error = (hidden.grad.float() - reference()["hidden"]).norm() / reference()["hidden"].norm()
    assert error < 0.03


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


def test_no_tensor_of_tokens_times_vocabulary_is_ever_made():
    tokens, width, vocab, chunk = 512, 8, 1000, 16
    hidden = torch.randn(tokens, width, requires_grad=True)
    weight = torch.randn(vocab, width, requires_grad=True)
    shard = VocabShard(start=0, real=vocab, group=None)
    saved = []
    with (
        Largest() as largest,
        torch.autograd.graph.saved_tensors_hooks(
            lambda x: saved.append(x.numel()) or x, lambda x: x
        ),
    ):
        logprob, _ = linear_logprob(
            hidden, weight, torch.zeros(tokens, dtype=torch.int64), shard=shard, chunk=chunk
        )
        logprob.sum().backward()
    assert largest.numel == chunk * vocab
    assert max(saved) == vocab * width
