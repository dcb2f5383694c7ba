"""The layers that plug into Megatron's blocks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from reft_megatron.config import Fp8Config, ModelConfig, ParallelConfig
from reft_megatron.policy.attention import CoreAttention
from reft_megatron.policy.families import Norm, find_architecture
from reft_megatron.policy.layers import LayerNorm, RMSNorm, block_spec
from reft_megatron.policy.model import _transformer_config

TINY = find_architecture("galactica-tiny")


def config(*, precision: str = "fp32", **changes: object):
    parallel = ParallelConfig(tensor=2, sequence=True)
    model, fp8 = ModelConfig(precision=precision), Fp8Config()
    return _transformer_config(replace(TINY, **changes), model, parallel, split=(4,), fp8=fp8)


def test_the_norm_is_torchs_and_marked_for_sequence_parallelism():
    norm = LayerNorm(config(), 96, eps=1e-3)
    x = torch.randn(5, 96)
    torch.testing.assert_close(norm(x), torch.nn.functional.layer_norm(x, (96,), eps=1e-3))
    assert [p.sequence_parallel for p in norm.parameters()] == [True, True]


def test_the_norm_has_no_weights_where_the_family_has_none():
    assert list(LayerNorm(config(norm=replace(TINY.norm, affine=False)), 96).parameters()) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_rms_norm_is_transformers(dtype: torch.dtype):
    """Bit for bit: the sums are in fp32 and the product with the weight is not."""
    ours, theirs = RMSNorm(config(), 96, eps=1e-3).to(dtype), LlamaRMSNorm(96, eps=1e-3).to(dtype)
    with torch.no_grad():
        for norm in (ours, theirs):
            norm.weight.copy_(torch.linspace(0.5, 2, 96))
    x = 3 * torch.randn(5, 2, 96).to(dtype) + 1
    found = ours(x)
    assert found.dtype == dtype
    torch.testing.assert_close(found, theirs(x), rtol=0, atol=0)
    assert ours.weight.sequence_parallel is True


@pytest.mark.usefixtures("alone")
def test_every_layer_has_our_parts():
    spec = block_spec(config(), TINY, None)
    assert len(spec.layer_specs) == 4
    assert spec.layer_norm is LayerNorm
    for layer in spec.layer_specs:
        parts = layer.submodules
        assert parts.input_layernorm is parts.pre_mlp_layernorm is LayerNorm
        assert parts.self_attention.submodules.core_attention is CoreAttention


@pytest.mark.usefixtures("alone")
def test_a_family_with_rms_norms_has_them_everywhere():
    attention = replace(TINY.attention, qk_norm=True)
    changes = {"norm": Norm(kind="rms", eps=1e-6), "attention": attention}
    spec = block_spec(config(**changes), replace(TINY, **changes), None)
    parts = spec.layer_specs[0].submodules
    inside = parts.self_attention.submodules
    assert spec.layer_norm is parts.input_layernorm is parts.pre_mlp_layernorm is RMSNorm
    assert inside.q_layernorm is inside.k_layernorm is RMSNorm
