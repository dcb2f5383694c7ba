"""Attention over packed rows and over a cache is attention over each sequence by itself."""

from __future__ import annotations

import math

import pytest
import torch
from megatron.core.transformer.enums import AttnMaskType
from torch import Tensor

from reft_megatron.config import ModelConfig, ParallelConfig
from reft_megatron.policy import join
from reft_megatron.policy.attention import (
    Cache,
    Cached,
    CoreAttention,
    Packed,
    Part,
    Positioned,
    Prefill,
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


@pytest.mark.parametrize("groups", [HEADS, 2], ids=["own keys", "grouped keys"])
@torch.no_grad()
def test_a_cache_gives_what_the_whole_sequence_gives(groups: int):
    """Three prompts, one of them twice, then five tokens each, in a cache with a spare row."""
    qkv = draw(20, 4, groups)
    prompts, of_row = (4, 1, 6), (2, 0, 1, 2)
    cache = Cache(rows=5, positions=20, heads=groups, size=SIZE)
    rows = torch.tensor([4, 0, 2, 1])
    first = [qkv[i][:6, :3] for i in range(3)]
    out = Prefill(cache, rows, torch.tensor(of_row)).attend(*first, part=PART, dropout=0.0)
    for prompt, length in enumerate(prompts):
        wanted = plain(*(x[:length, prompt] for x in first))
        torch.testing.assert_close(out[:length, prompt], wanted)
    # What each cache row has seen so far, to be continued with its own new tokens.
    seen = [[x[: prompts[prompt], prompt] for x in first] for prompt in of_row]
    for step in range(5):
        positions = torch.zeros(5, dtype=torch.int64)
        fresh = [x[10 + step, :1].expand(5, -1, -1).clone() for x in qkv]
        for i, row in enumerate(rows):
            positions[row] = len(seen[i][0])
            for x in fresh:
                x[row] += i
            seen[i] = [
                torch.cat([old, x[row][None]]) for old, x in zip(seen[i], fresh, strict=True)
            ]
        out = Cached(cache, positions).attend(*(x[None] for x in fresh), part=PART, dropout=0.0)
        for i, row in enumerate(rows):
            torch.testing.assert_close(out[0, row], plain(*seen[i])[-1])


def test_a_cache_keeps_the_rows_it_is_told():
    cache = Cache(rows=3, positions=2, heads=1, size=1)
    like = torch.zeros(1)
    keys, _ = cache.layer(1, like)
    keys[:, 0, 0, 0] = torch.tensor([10.0, 11.0, 12.0])
    cache.keep(torch.tensor([2, 0]))
    assert cache.layer(1, like)[0][:, 0, 0, 0].tolist() == [12.0, 10.0]
    assert cache.layer(2, like)[0].shape == (2, 1, 2, 1)


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
