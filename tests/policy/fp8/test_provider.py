"""Which layers a model in FP8 is made of."""

from __future__ import annotations

from dataclasses import replace

import pytest
from megatron.core.transformer.identity_op import IdentityOp

from reft_megatron.policy.families import Norm, find_architecture
from reft_megatron.policy.fp8.linear import (
    Fp8ColumnParallelLinear,
    Fp8Mlp,
    Fp8NormColumnParallelLinear,
    Fp8RowParallelLinear,
)
from reft_megatron.policy.fp8.provider import Fp8SpecProvider, our_layers
from tests.policy.scene import ONE, open_policy

TINY = find_architecture("galactica-tiny")


def kinds(layer) -> list[type]:
    attention, block = layer.self_attention, layer.mlp
    parts = (attention.linear_qkv, attention.linear_proj, block, block.linear_fc1, block.linear_fc2)
    return [type(part) for part in parts]


@pytest.mark.usefixtures("alone")
def test_a_model_has_our_layers_but_for_those_that_stay_in_bf16():
    (chunk,) = open_policy(
        ONE, "model.precision=fp8", "fp8.first_layers_bf16=1", "fp8.last_layers_bf16=1"
    ).chunks
    first, *middle, last = chunk.decoder.layers
    column, row = Fp8NormColumnParallelLinear, Fp8RowParallelLinear
    for layer in middle:
        assert kinds(layer) == [column, row, Fp8Mlp, column, row]
        assert isinstance(layer.input_layernorm, IdentityOp)
        assert isinstance(layer.pre_mlp_layernorm, IdentityOp)
    (plain,) = open_policy(ONE, "model.precision=bf16").chunks
    for layer in (first, last):
        assert kinds(layer) == kinds(plain.decoder.layers[0])
    # One place for the codes of all.
    assert len({id(m.config.fp8_weights) for m in chunk.modules() if hasattr(m, "config")}) == 1


@pytest.mark.usefixtures("alone")
def test_a_checkpoint_has_the_same_names_and_shapes_at_any_precision():
    def told(precision: str) -> list[tuple[str, tuple[int, ...]]]:
        (chunk,) = open_policy(ONE, f"model.precision={precision}", total_steps=None).chunks
        parts = chunk.sharded_state_dict().values()
        return sorted((p.key, tuple(p.global_shape)) for p in parts if hasattr(p, "global_shape"))

    assert told("fp8") == told("bf16")


def test_norms_that_have_no_kernel_stay_before_their_layer():
    rms = replace(TINY, norm=Norm(kind="rms", eps=1e-6), activation="swiglu")
    bare = replace(TINY, norm=replace(TINY.norm, affine=False))
    for architecture in (rms, bare):
        provider = Fp8SpecProvider(our_layers(architecture))
        assert not provider.fuse_layernorm_and_linear()
        assert provider.column_parallel_layer_norm_linear() is None
        assert provider.column_parallel_linear() is Fp8ColumnParallelLinear


def test_relu_is_quantised_behind_it():
    """No kernel for it, so the block is Megatron's and its layers are ours."""
    spec = Fp8SpecProvider(our_layers(replace(TINY, activation="relu"))).feed_forward()
    assert getattr(spec, "module", None) is not Fp8Mlp
    assert getattr(getattr(spec, "func", None), "__self__", None) is not Fp8Mlp
