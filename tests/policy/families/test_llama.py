"""LLaMA's family as its config.json files tell it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from transformers import AutoConfig

from reft_megatron.errors import CheckpointError
from reft_megatron.policy.families import Architecture, Rope, llama
from reft_megatron.policy.families.config_file import ConfigFile
from reft_megatron.policy.families.llama import PRESETS

# codellama/CodeLlama-7b-hf, as published.
CODELLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 11008,
    "max_position_embeddings": 16384,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.33.0.dev0",
    "use_cache": True,
    "vocab_size": 32016,
}
LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}


def read(**changes: object) -> Architecture:
    tree = {**CODELLAMA, **changes}
    return llama.read(ConfigFile("config.json", tree))


def parameters(size: Architecture) -> int:
    """Weights of a LLaMA of that size."""
    heads, groups = size.attention.heads, size.attention.groups
    attention = 2 * size.hidden * (heads + groups) * size.attention.size
    layer = attention + 3 * size.hidden * size.ffn + 2 * size.hidden
    return 2 * size.vocab * size.hidden + size.layers * layer + size.hidden


@pytest.mark.parametrize(
    ("name", "billions"), [("7b", 6.74), ("13b", 13.02), ("34b", 33.74), ("70b", 68.98)]
)
def test_sizes_have_as_many_parameters_as_published(name: str, billions: float):
    assert parameters(PRESETS[f"codellama-{name}"]) / 1e9 == pytest.approx(billions, abs=0.01)


def test_codellamas_own_file_is_its_preset():
    preset = PRESETS["codellama-7b"]
    assert replace(read(), name=preset.name) == preset


def test_both_spellings_of_rotation_are_read():
    old = read(rope_theta=5e5, rope_scaling=LLAMA3)
    new = read(rope_theta=None, rope_parameters={"rope_theta": 5e5, **LLAMA3})
    assert old == new
    assert old.attention.rope == Rope(
        theta=5e5,
        scaling="llama3",
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_positions=8192,
    )
    linear = read(rope_scaling={"type": "linear", "factor": 2.0}).attention.rope
    assert linear == Rope(theta=1e6, scaling="linear", factor=2.0)


QWEN = {
    "model_type": "qwen2",
    "pretraining_tp": None,
    "use_sliding_window": True,
    "sliding_window": 4096,
    "max_window_layers": 20,
}


def test_the_details_of_each_kind():
    qwen2 = read(**QWEN)
    assert qwen2.attention.qkv_bias
    assert not qwen2.bias
    assert (qwen2.attention.window, qwen2.attention.window_from) == (4096, 20)
    assert read(**{**QWEN, "use_sliding_window": False}).attention.window == 0
    qwen3 = read(**{**QWEN, "model_type": "qwen3", "head_dim": 256})
    assert qwen3.attention.qk_norm
    assert qwen3.attention.size == 256
    mistral = read(model_type="mistral", sliding_window=4096, num_key_value_heads=8)
    assert (mistral.attention.window, mistral.attention.groups) == (4096, 8)
    biased = read(attention_bias=True, mlp_bias=True)
    assert biased.bias
    assert biased.attention.qkv_bias


NEEDED = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 64,
    "num_hidden_layers": 30,
    "vocab_size": 99,
}
NULL_GROUPS = {"num_key_value_heads": None}


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("llama", {}),
        ("llama", NULL_GROUPS),
        ("mistral", {}),
        ("mistral", {"sliding_window": None}),
        ("mistral", {"sliding_window": 8}),
        ("qwen2", {}),
        ("qwen2", {"use_sliding_window": True}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": None}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 3}),
        ("qwen3", {}),
        ("qwen3", {"use_sliding_window": True, **NULL_GROUPS}),
    ],
)
def test_what_a_file_leaves_out_is_what_transformers_takes(kind: str, said: dict[str, object]):
    found = llama.read(ConfigFile("config.json", {"model_type": kind, **NEEDED, **said}))
    theirs = AutoConfig.for_model(kind, **NEEDED, **said)
    attention = found.attention
    assert found.positions == theirs.max_position_embeddings
    assert found.norm.eps == theirs.rms_norm_eps
    assert found.tied == theirs.tie_word_embeddings
    assert found.init_std == theirs.initializer_range
    assert attention.groups == theirs.num_key_value_heads
    assert attention.size == getattr(theirs, "head_dim", 256 // 64)
    assert attention.rope == Rope(theta=theirs.rope_parameters["rope_theta"])
    window = getattr(theirs, "sliding_window", None)
    assert attention.window == (window or 0)
    # Mistral has no list of layers: its window is in all of them.
    everywhere = ["sliding_attention" if window else "full_attention"] * 30
    for layer, each in enumerate(getattr(theirs, "layer_types", everywhere)):
        slides = attention.window > 0 and layer >= attention.window_from
        assert slides == (each == "sliding_attention")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        QWEN,
        {**QWEN, "model_type": "qwen3", "use_sliding_window": False},
        {"model_type": "mistral", "sliding_window": 16},
        {"rope_scaling": LLAMA3},
        {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    ],
)
def test_what_is_read_is_written(changes: dict[str, object]):
    found = read(**changes)
    again = ConfigFile("again", {**llama.write(found, 32_016), "model_type": found.model_type})
    assert llama.read(again) == found


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_act", "gelu"),
        ("attention_bias", True),
        ("rope_scaling", {"rope_type": "yarn", "factor": 4.0}),
        ("rope_scaling", {"rope_type": "linear", "factor": 2.0, "more": 1}),
        ("rope_scaling", {"rope_type": "linear", "factor": "2"}),
        ("rope_scaling", {"rope_type": "linear", "factor": None}),
        ("rope_scaling", {"rope_type": "linear", "factor": 0}),
        ("rope_scaling", {"rope_type": "linear", "factor": float("nan")}),
        ("rope_scaling", {"rope_type": ["linear"], "factor": 2.0}),
        ("rope_scaling", {**LLAMA3, "original_max_position_embeddings": "8192"}),
        ("rope_scaling", {**LLAMA3, "high_freq_factor": 1.0}),
        ("rope_parameters", {"rope_theta": "big"}),
        ("num_attention_heads", 0),
        ("partial_rotary_factor", 0.5),
        ("quantization_config", {"bits": 4}),
        ("num_local_experts", 8),
    ],
)
def test_what_is_not_supported_is_refused_by_name(key: str, value: object):
    with pytest.raises(CheckpointError, match=rf"^config.json: {key} = .* is not supported: "):
        read(**{key: value})


def test_layer_types_must_be_what_the_windows_say():
    with pytest.raises(CheckpointError, match="20 full layers and then 12 sliding ones wanted"):
        read(**QWEN, layer_types=["sliding_attention"] * 32)
