"""Rotation of queries and keys, against transformers' own."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from reft_megatron.policy.families import Rope
from reft_megatron.policy.rotary import Rotation, frequencies

SCALINGS = {
    "none": ({}, {"rope_type": "default"}),
    "linear": ({"factor": 4.0}, {"rope_type": "linear", "factor": 4.0}),
    "llama3": (
        {
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_positions": 64,
        },
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_rotation_is_transformers_bit_for_bit(scaling: str, dtype: torch.dtype):
    ours, theirs = SCALINGS[scaling]
    rope = Rope(theta=1000.0, scaling=scaling, **ours)
    config = LlamaConfig(
        hidden_size=64,
        num_attention_heads=2,
        max_position_embeddings=512,
        rope_parameters={"rope_theta": 1000.0, **theirs},
    )
    positions = torch.tensor([[0, 1, 2, 77, 400], [9, 8, 0, 0, 511]])
    query, key = torch.randn(2, 5, 2, 2, 32, generator=torch.Generator().manual_seed(1)).to(dtype)
    cosine, sine = LlamaRotaryEmbedding(config)(query, positions)
    wanted = apply_rotary_pos_emb(query.permute(1, 2, 0, 3), key.permute(1, 2, 0, 3), cosine, sine)
    rotate = Rotation(rope, positions, 32)
    for x, other in zip((query, key), wanted, strict=True):
        assert torch.equal(rotate(x), other.permute(2, 0, 1, 3))


def test_llama3_keeps_short_wavelengths_and_stretches_long_ones():
    rope = Rope(theta=1e4, scaling="llama3", factor=8.0, original_positions=64)
    share = frequencies(rope, 64) / frequencies(Rope(theta=1e4), 64)
    assert share[0] == 1
    assert share[-1] == pytest.approx(1 / 8)
    assert (share.diff() <= 0).all()
