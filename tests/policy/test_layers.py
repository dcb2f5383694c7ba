"""The layers that plug into Megatron's blocks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from reft_megatron.config import ModelConfig, ParallelConfig
from reft_megatron.policy.attention import CoreAttention
from reft_megatron.policy.families import find_architecture
from reft_megatron.policy.layers import LayerNorm, block_spec
from reft_megatron.policy.model import _transformer_config

TINY = find_architecture("galactica-tiny")


def config(**changes: object):
    parallel = ParallelConfig(tensor=2, sequence=True)
    return _transformer_config(replace(TINY, **changes), ModelConfig(), parallel)


def test_the_norm_is_torchs_and_marked_for_sequence_parallelism():
    norm = LayerNorm(config(), 96, eps=1e-3)
    x = torch.randn(5, 96)
    torch.testing.assert_close(norm(x), torch.nn.functional.layer_norm(x, (96,), eps=1e-3))
    assert [p.sequence_parallel for p in norm.parameters()] == [True, True]


def test_the_norm_has_no_weights_where_the_family_has_none():
    assert list(LayerNorm(config(norm=replace(TINY.norm, affine=False)), 96).parameters()) == []


@pytest.mark.usefixtures("alone")
def test_every_layer_has_our_parts():
    spec = block_spec(config(), TINY, None)
    assert len(spec.layer_specs) == 4
    assert spec.layer_norm is LayerNorm
    for layer in spec.layer_specs:
        parts = layer.submodules
        assert parts.input_layernorm is parts.pre_mlp_layernorm is LayerNorm
        assert parts.self_attention.submodules.core_attention is CoreAttention
