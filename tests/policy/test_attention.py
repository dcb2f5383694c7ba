"""Attention over packed rows is attention over each sequence by itself."""

from __future__ import annotations

import math

import pytest
import torch
from megatron.core.transformer.enums import AttnMaskType
from torch import Tensor

from reft_megatron.config import ModelConfig, ParallelConfig
from reft_megatron.policy import join
from reft_megatron.policy.attention import (
    CoreAttention,
    Packed,
    Part,
    Positioned,
    Rectangle,
)
from reft_megatron.policy.families import find_architecture
from reft_megatron.policy.model import _transformer_config

HEADS, SIZE = 4, 8
PART = Part(layer=1, window=0)
LENGTHS = (5, 1, 9, 3)


def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of one sequence, [S, N, D], in plain sums; groups of heads share a key."""
    share = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(share, dim=1) for x in (k, v))
    out = torch.zeros_like(q)
    for position in range(len(q)):
        scores = torch.einsum("nd,snd->sn", q[position], k[: position + 1]) / math.sqrt(SIZE)
        out[position] = torch.einsum("sn,snd->nd", scores.softmax(0), v[: position + 1])
    return out


def draw(positions: int, rows: int, groups: int = HEADS) -> tuple[Tensor, Tensor, Tensor]:
    """query, key, value as the layouts get them."""
    generator = torch.Generator().manual_seed(positions)
    return tuple(
        torch.randn(positions, rows, heads, SIZE, generator=generator, requires_grad=True)
        for heads in (HEADS, groups, groups)
    )


@pytest.mark.parametrize("groups", [HEADS, 2], ids=["own keys", "grouped keys"])
@pytest.mark.parametrize("tail", [0, 4])
def test_packed_rows_attend_inside_each_sequence(tail: int, groups: int):
    qkv = draw(sum(LENGTHS) + tail, 1, groups)
    layout = Packed(LENGTHS, sum(LENGTHS) + tail, torch.device("cpu"))
    out = layout.attend(*qkv, part=PART, dropout=0.0)
    assert out.shape == qkv[0].shape
    begin = 0
    for length in LENGTHS:
        span = slice(begin, begin + length)
        torch.testing.assert_close(out[span, 0], plain(*(x[span, 0] for x in qkv)))
        begin += length
    # The gradient of one sequence touches no other.
    out[5:6].sum().backward()
    assert all(not x.grad[:5].any() and not x.grad[6:].any() for x in qkv)
    assert qkv[2].grad[5].any()


@pytest.mark.parametrize("groups", [HEADS, 2], ids=["own keys", "grouped keys"])
def test_rectangles_attend_inside_each_row(groups: int):
    qkv = draw(9, len(LENGTHS), groups)
    out = Rectangle().attend(*qkv, part=PART, dropout=0.0)
    for row, length in enumerate(LENGTHS):
        wanted = plain(*(x[:length, row] for x in qkv))
        torch.testing.assert_close(out[:length, row], wanted)


def config(dropout: float = 0.0):
    tiny = find_architecture("galactica-tiny")
    return _transformer_config(tiny, ModelConfig(dropout=dropout), ParallelConfig())


def where() -> Positioned:
    """A rectangle in a model without rotation."""
    attention = find_architecture("galactica-tiny").attention
    return Positioned(Rectangle(), torch.zeros(1, 1, dtype=torch.int64), attention)


@pytest.mark.parametrize(
    ("mask", "kind"), [(AttnMaskType.padding, "self"), (AttnMaskType.causal, "cross")]
)
def test_only_causal_self_attention_is_served(mask: AttnMaskType, kind: str):
    with pytest.raises(AssertionError, match=r"^this attention is causal self-attention only$"):
        CoreAttention(config=config(), layer_number=1, attn_mask_type=mask, attention_type=kind)


@pytest.mark.usefixtures("alone")
def test_dropout_drops_in_training_only():
    core = CoreAttention(
        config=config(0.5),
        layer_number=1,
        attn_mask_type=AttnMaskType.causal,
        attention_type="self",
    )
    qkv = draw(9, 2)
    wanted = Rectangle().attend(*qkv, part=PART, dropout=0.0).flatten(2)
    runs = [core.train()(*qkv, None, attention_bias=where()) for _ in range(2)]
    assert not torch.allclose(runs[0], wanted)
    assert not torch.allclose(runs[0], runs[1])
    torch.testing.assert_close(core.eval()(*qkv, None, attention_bias=where()), wanted)


def play_dropping() -> tuple[Tensor, float]:
    """Attention with dropout of the same heads on each rank, and the next common random number."""
    mesh = join(ParallelConfig(tensor=2), seed=0, timeout_s=300, threads=1)
    core = CoreAttention(
        config=config(0.5),
        layer_number=1,
        attn_mask_type=AttnMaskType.causal,
        attention_type="self",
    ).train()
    out = core(*draw(9, mesh.tensor.size), None, attention_bias=where())
    return out.detach(), torch.rand(()).item()


@pytest.mark.megatron
def test_tensor_ranks_drop_differently_and_stay_in_step(ranks):
    (one, its_next), (other, the_others) = ranks(2, play_dropping)
    assert not torch.equal(one, other), "they hold different heads"
    assert its_next == the_others, "what they hold in common must stay equal"
