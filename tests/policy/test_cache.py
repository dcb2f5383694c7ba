"""Steps over a cache give what attention over each whole sequence gives."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from reft_megatron.policy.attention import Part
from reft_megatron.policy.cache import Mixed, Piece
from tests.policy.scene import cpu_cache

HEADS, SIZE, ROWS, ROOM = 4, 8, 6, 40


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


class Scene:
    """Random sequences, a cache that starts as garbage, and what was put where."""

    def __init__(self, groups: int, window: int) -> None:
        draw = torch.Generator().manual_seed(groups)
        self._qkv = [
            torch.randn(ROWS, ROOM, heads, SIZE, generator=draw)
            for heads in (HEADS, groups, groups)
        ]
        self._part = Part(layer=1, window=window)
        self.cache = cpu_cache([1], rows=ROWS, positions=ROOM, heads=groups, size=SIZE)
        for stored in self.cache.layer(1):
            stored.fill_(1e3)

    def step(self, live: dict[int, tuple[int, int]], pieces: list[tuple[int, Piece]]) -> None:
        """One step, checked: `live` maps cache rows to (sequence, position), pieces have theirs."""
        where = [live[row] for row in sorted(live)]
        where += [(i, p) for i, x in pieces for p in range(x.start, x.start + x.length)]
        tokens = [torch.stack([x[i, p] for i, p in where])[:, None] for x in self._qkv]
        positions = torch.tensor([position for _, position in where])
        layout = Mixed(
            self.cache, positions, decoding=len(live), pieces=[piece for _, piece in pieces]
        )
        out = layout.attend(*tokens, part=self._part, dropout=0.0)
        assert out.shape == tokens[0].shape
        for row, (i, position) in enumerate(where):
            whole = plain(*(x[i, : position + 1] for x in self._qkv), self._part.window)
            torch.testing.assert_close(out[row, 0], whole[-1])


@pytest.mark.parametrize("window", [0, 1, 3, 100])
@pytest.mark.parametrize("groups", [HEADS, 2], ids=["own keys", "grouped keys"])
@torch.no_grad()
def test_mixed_steps_attend_like_whole_sequences(groups: int, window: int):
    """Two prompts in pieces beside tokens of others, then all four go on, one twice."""
    scene = Scene(groups, window)
    scene.step({}, [(0, Piece(row=4, start=0, length=7)), (1, Piece(row=5, start=0, length=2))])
    scene.cache.copy(4, [0, 1], 7)
    scene.step(
        {0: (0, 7), 1: (0, 7)},
        [(1, Piece(row=5, start=2, length=9)), (2, Piece(row=4, start=0, length=1))],
    )
    scene.cache.copy(5, [2], 11)
    scene.cache.copy(4, [3], 1)
    for step in range(5):
        scene.step({0: (0, 8 + step), 1: (0, 8 + step), 2: (1, 11 + step), 3: (2, 1 + step)}, [])
    # Sequence 0 leaves row 0 to the last one.
    scene.cache.copy(3, [0], 6)
    scene.step({0: (2, 6), 1: (0, 13), 2: (1, 16)}, [])
