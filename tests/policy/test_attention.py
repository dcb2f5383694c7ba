"""Attention over packed rows is attention over each sequence by itself, windows included."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from megatron.core.transformer.enums import AttnMaskType
from torch import Tensor

from reft_megatron.config import Fp8Config, ModelConfig, ParallelConfig
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
LENGTHS = (5, 1, 9, 3)
WINDOWS = pytest.mark.parametrize("window", [0, 1, 3, 8, 9, 100])
"""None, itself alone, some, one less than the longest sequence, all of it, more."""


def plain(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Causal attention of one sequence, [S, N, D], in plain sums; groups of heads share a key."""
    share = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(share, dim=1) for x in (k, v))
    out = torch.zeros_like(q)
    for position in range(len(q)):
        seen = slice(max(0, position + 1 - window) if window else 0, position + 1)
        scores = torch.einsum("nd,snd->sn", q[position], k[seen]) / math.sqrt(SIZE)
        out[position] = torch.einsum("sn,snd->nd", scores.softmax(0), v[seen])
    return out


def draw(positions: int, rows: int, groups: int = HEADS) -> tuple[Tensor, Tensor, Tensor]:
    """query, key, value as the layouts get them."""
    generator = torch.Generator().manual_seed(positions)
    return tuple(
        torch.randn(positions, rows, heads, SIZE, generator=generator, requires_grad=True)
        for heads in (HEADS, groups, groups)
    )


@WINDOWS
@pytest.mark.parametrize("groups", [HEADS, 2], ids=["own keys", "grouped keys"])
@pytest.mark.parametrize("tail", [0, 4])
def test_packed_rows_attend_inside_each_sequence(tail: int, groups: int, window: int):
    qkv = draw(sum(LENGTHS) + tail, 1, groups)
    layout = Packed(LENGTHS, sum(LENGTHS) + tail, torch.device("cpu"))
    out = layout.attend(*qkv, part=Part(layer=1, window=window), dropout=0.0)
    assert out.shape == qkv[0].shape
    begin = 0
    for length in LENGTHS:
        span = slice(begin, begin + length)
        torch.testing.assert_close(out[span, 0], plain(*(x[span, 0] for x in qkv), window))
        begin += length
    # The gradient of one sequence touches no other.
    out[5:6].sum().backward()
    assert all(not x.grad[:5].any() and not x.grad[6:].any() for x in qkv)
    assert qkv[2].grad[5].any()


@WINDOWS
@pytest.mark.parametrize("groups", [HEADS, 2], ids=["own keys", "grouped keys"])
def test_rectangles_attend_inside_each_row(groups: int, window: int):
    qkv = draw(9, len(LENGTHS), groups)
    out = Rectangle().attend(*qkv, part=Part(layer=1, window=window), dropout=0.0)
    for row, length in enumerate(LENGTHS):
        wanted = plain(*(x[:length, row] for x in qkv), window)
        torch.testing.assert_close(out[:length, row], wanted)


def config(dropout: float = 0.0, **changes: int):
    tiny = find_architecture("galactica-tiny")
    tiny = replace(tiny, attention=replace(tiny.attention, **changes))
    return _transformer_config(
        tiny, ModelConfig(dropout=dropout), ParallelConfig(), split=(4,), fp8=Fp8Config()
    )


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


def test_the_first_layers_may_have_no_window():
    """`window_from` counts layers from 0, Megatron from 1."""
    qkv = draw(9, 2)
    for number, window in ((1, 0), (2, 0), (3, 4), (4, 4)):
        core = CoreAttention(
            config=config(window=4, window_from=2),
            layer_number=number,
            attn_mask_type=AttnMaskType.causal,
            attention_type="self",
        )
        wanted = torch.stack([plain(*(x[:, row] for x in qkv), window) for row in range(2)], dim=1)
        found = core(*qkv, None, attention_bias=where())
        torch.testing.assert_close(found, wanted.flatten(2))


@pytest.mark.usefixtures("alone")
def test_dropout_drops_in_training_only():
    core = CoreAttention(
        config=config(0.5),
        layer_number=1,
        attn_mask_type=AttnMaskType.causal,
        attention_type="self",
    )
    qkv = draw(9, 2)
    wanted = Rectangle().attend(*qkv, part=Part(layer=1, window=0), dropout=0.0).flatten(2)
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
