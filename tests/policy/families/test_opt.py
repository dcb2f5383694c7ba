"""Galactica's sizes are those of its paper."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reft_megatron.errors import CheckpointError
from reft_megatron.policy.families import Architecture, opt
from reft_megatron.policy.families.config_file import ConfigFile
from reft_megatron.policy.families.opt import PRESETS

# facebook/galactica-6.7b, as published.
GALACTICA = {
    "_remove_final_layer_norm": False,
    "activation_function": "gelu",
    "architectures": ["OPTForCausalLM"],
    "attention_dropout": 0.1,
    "bos_token_id": 0,
    "do_layer_norm_before": True,
    "dropout": 0.1,
    "enable_bias": True,
    "eos_token_id": 2,
    "ffn_dim": 16384,
    "hidden_size": 4096,
    "init_std": 0.02,
    "layer_norm_elementwise_affine": True,
    "layerdrop": 0.0,
    "learned_embeddings": True,
    "max_position_embeddings": 2048,
    "model_type": "opt",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "pad_token_id": 1,
    "scale_embeddings": False,
    "torch_dtype": "float16",
    "transformers_version": "4.21.0.dev0",
    "use_cache": True,
    "vocab_size": 50000,
    "word_embed_proj_dim": 4096,
}


def parameters(size: Architecture, vocab: int = 50_000) -> int:
    """Weights of an OPT of that size, Galactica's vocabulary by default."""
    embeddings = (vocab + size.positions) * size.hidden
    attention = 4 * size.hidden * (size.hidden + 1)
    feed_forward = 2 * size.hidden * size.ffn + size.ffn + size.hidden
    norms = 2 * 2 * size.hidden
    return embeddings + size.layers * (attention + feed_forward + norms) + 2 * size.hidden


@pytest.mark.parametrize(
    ("name", "billions"),
    [("125m", 0.125), ("1.3b", 1.3), ("6.7b", 6.7), ("30b", 30), ("120b", 120)],
)
def test_sizes_have_as_many_parameters_as_their_names_say(name: str, billions: float):
    size = PRESETS[f"galactica-{name}"]
    assert parameters(size) / 1e9 == pytest.approx(billions, rel=0.025)
    assert size.positions == 2048


def test_every_size_is_galactica():
    for size in PRESETS.values():
        assert (size.activation, size.bias, size.norm.affine, size.tied) == (
            "gelu",
            True,
            True,
            True,
        )
        assert size.ffn == 4 * size.hidden
        assert size.hidden == size.attention.heads * size.attention.size


def read(**changes: object) -> Architecture:
    return opt.read(ConfigFile("config.json", {**GALACTICA, **changes}))


def test_galacticas_own_file_is_its_preset():
    found, preset = read(), PRESETS["galactica-6.7b"]
    assert replace(found, name=preset.name, vocab=0) == preset


def test_what_is_read_is_written():
    again = opt.write(read(), 50_000)
    assert {key: GALACTICA[key] for key in again if key in GALACTICA} == {
        key: again[key] for key in again if key in GALACTICA
    }
    assert opt.read(ConfigFile("config.json", again)) == read()


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("do_layer_norm_before", False, "opt-350m"),
        ("_remove_final_layer_norm", True, "final LayerNorm is wanted"),
        ("word_embed_proj_dim", 512, "must be hidden_size = 4096 wide"),
        ("layerdrop", 0.1, "layers cannot be dropped"),
        ("scale_embeddings", True, "not scaled"),
        ("learned_embeddings", False, "must be learned"),
        ("activation_function", "gelu_new", "gelu (exact) or relu wanted"),
        ("hidden_size", "4096", "int wanted"),
        ("quantization_config", {"bits": 4}, "does not know what it changes"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(key: str, value: object, why: str):
    with pytest.raises(CheckpointError) as caught:
        read(**{key: value})
    assert str(caught.value).startswith(f"config.json: {key} = {value!r} is not supported: ")
    assert why in str(caught.value)


def test_keys_that_say_nothing_may_be_there():
    assert read(brand_new_switch=False, other=None, use_cache=True) == read()
