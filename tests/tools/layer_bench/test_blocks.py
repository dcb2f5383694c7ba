"""The blocks that the layers' benchmark measures: their rivals, inputs and distances."""

from __future__ import annotations

import dataclasses
import math

import torch

from tools.bench_layers import _SHAPES
from tools.layer_bench.blocks import blocks, distance

CPU = torch.device("cpu")
SHAPES = dataclasses.replace(_SHAPES["cpu"], tokens=(16, 32), slots=(4, 8))


def test_every_shape_has_its_block():
    names = [block.name for block in blocks(SHAPES, CPU)]
    assert len(set(names)) == len(names) == 2 + 2 + 1
    assert "feed-forward, 16 tokens, forward and backward" in names
    assert "decoding a layer, 8 sequences of 24 positions" in names
    assert "log-probs of 40 tokens, forward and backward" in names


def test_targets_are_those_of_the_plan():
    at_scale = {block.name.split(",")[0]: block for block in blocks(SHAPES, CPU)}
    assert at_scale["feed-forward"].wanted == 1.35, "under 8,192 tokens"
    assert at_scale["decoding a layer"].wanted == 1.5
    assert at_scale["log-probs of 40 tokens"].memory == 1 / 8


def test_seeds_make_other_inputs_and_the_same_again():
    for block in blocks(SHAPES, CPU):
        one, same, other = (block.inputs(seed)[0] for seed in (1, 1, 2))
        assert torch.equal(one, same)
        assert not torch.equal(one, other)


def test_what_decodes_again_gives_the_same():
    """The cache is written at the same places."""
    block = next(b for b in blocks(SHAPES, CPU) if b.name.startswith("decoding"))
    given = block.inputs(3)
    for step in (block.ours, block.theirs):
        assert torch.equal(step(*given)[0], step(*given)[0])


def test_the_distance_is_that_of_the_worst_output_and_nan_shows():
    one = torch.ones(4)
    assert distance((one, 2 * one), (one, one)) == 1
    assert math.isnan(distance((one, one * math.nan, 3 * one), (one, one, one)))
