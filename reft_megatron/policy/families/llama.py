"""LLaMA, and what differs from it in a detail: Qwen2, Qwen3, Mistral.

CodeLlama, Llama 2 and Llama 3 are LLaMA itself.

Decoder-only, RMSNorm before each block and at the end, rotary positions, a gated SiLU feed-forward
block, grouped-query attention (Touvron et al. 2023; Roziere et al. 2023). Qwen2 has biases on
queries, keys and values, Qwen3 a norm on each head's query and key, Mistral a window.
"""

from __future__ import annotations

import math
from typing import Any

from reft_megatron.policy.families.architecture import Architecture, Attention, Norm, Rope
from reft_megatron.policy.families.config_file import ConfigFile

__all__ = ["MODEL_TYPES", "PRESETS", "STEMS", "read", "write"]

MODEL_TYPES = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3", "mistral": "Mistral"}
"""Model types of this family, and how transformers' classes of each begin."""

_LAYER = "model.layers.{}."
STEMS: dict[str, tuple[str, ...]] = {
    "embedding": ("model.embed_tokens",),
    "attention_norm": (_LAYER + "input_layernorm",),
    "qkv": tuple(_LAYER + f"self_attn.{x}_proj" for x in "qkv"),
    "q_norm": (_LAYER + "self_attn.q_norm",),
    "k_norm": (_LAYER + "self_attn.k_norm",),
    "proj": (_LAYER + "self_attn.o_proj",),
    "ffn_norm": (_LAYER + "post_attention_layernorm",),
    "fc1": (_LAYER + "mlp.gate_proj", _LAYER + "mlp.up_proj"),
    "fc2": (_LAYER + "mlp.down_proj",),
    "final_norm": ("model.norm",),
    "output": ("lm_head",),
}
"""transformers' names of each part, without `.weight` and `.bias`; {} is the layer."""

# What transformers takes where config.json lacks the key; LLaMA has as many groups as heads.
_POSITIONS = {"llama": 2048, "qwen2": 32_768, "qwen3": 32_768, "mistral": 131_072}
_GROUPS = {"qwen2": 32, "qwen3": 32, "mistral": 8}
_WINDOW, _WINDOW_FROM = 4096, 28
_QWEN3_HEAD = 128
_THETA = 10_000.0

_LLAMA3 = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
_ROPE_NUMBERS: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "llama3": _LLAMA3,
}
"""Rope types that are known, and what `rope_scaling` says of each."""


def read(file: ConfigFile) -> Architecture:
    """The architecture that `file` describes; CheckpointError for what is not supported."""
    kind = file.model_type
    hidden, layers = file.count("hidden_size"), file.count("num_hidden_layers")
    file.expect("hidden_act", "silu", why="the feed-forward block is gated by silu")
    file.expect("rope_interleaved", False, why="rotation pairs the halves of a head")
    file.expect("partial_rotary_factor", 1, 1.0, why="whole heads are rotated")
    bias = file.take("mlp_bias", bool, False) if kind == "llama" else False
    # Its projection of queries, keys and values and that of the output have biases together.
    projections = file.take("attention_bias", bool, False) if kind in ("llama", "qwen3") else False
    if projections != bias:
        raise file.refusal(
            "attention_bias", projections, "biases stand in all linear layers or in none of them"
        )
    architecture = Architecture(
        name=f"{kind}-{layers}x{hidden}",
        model_type=kind,
        layers=layers,
        hidden=hidden,
        ffn=file.count("intermediate_size"),
        positions=file.count("max_position_embeddings", _POSITIONS[kind]),
        position_offset=0,
        vocab=file.count("vocab_size"),
        activation="swiglu",
        bias=bias,
        tied=file.take("tie_word_embeddings", bool, False),
        init_std=file.take("initializer_range", float, 0.02),
        attention=_attention(file, hidden, layers, bias=bias),
        norm=Norm(kind="rms", eps=file.take("rms_norm_eps", float, 1e-6)),
    )
    file.finish()
    return architecture


def write(architecture: Architecture, vocab: int) -> dict[str, Any]:
    """What `config.json` says of the network, with `vocab` embedding rows."""
    attention, kind = architecture.attention, architecture.model_type
    assert attention.rope is not None, "this family rotates"
    own: dict[str, Any] = {}
    if kind == "llama":
        own = {"attention_bias": architecture.bias, "mlp_bias": architecture.bias}
    elif kind == "mistral":
        own = {"sliding_window": attention.window or None}
    else:
        own = {
            "use_sliding_window": attention.window > 0,
            "sliding_window": attention.window or None,
            "max_window_layers": attention.window_from if attention.window else architecture.layers,
        }
    return {
        **own,
        "hidden_act": "silu",
        "hidden_size": architecture.hidden,
        "head_dim": attention.size,
        "initializer_range": architecture.init_std,
        "intermediate_size": architecture.ffn,
        "max_position_embeddings": architecture.positions,
        "num_attention_heads": attention.heads,
        "num_hidden_layers": architecture.layers,
        "num_key_value_heads": attention.groups,
        "rms_norm_eps": architecture.norm.eps,
        **_write_rope(attention.rope),
        "tie_word_embeddings": architecture.tied,
        "vocab_size": vocab,
    }


def _attention(file: ConfigFile, hidden: int, layers: int, *, bias: bool) -> Attention:
    kind, heads = file.model_type, file.count("num_attention_heads")
    window, window_from = _window(file, layers)
    return Attention(
        heads=heads,
        groups=file.count("num_key_value_heads", _GROUPS.get(kind, heads), null=heads),
        size=file.count("head_dim", _QWEN3_HEAD if kind == "qwen3" else hidden // heads),
        qkv_bias=bias or kind == "qwen2",
        qk_norm=kind == "qwen3",
        rope=_rope(file),
        window=window,
        window_from=window_from,
    )


def _window(file: ConfigFile, layers: int) -> tuple[int, int]:
    """(positions a token sees or 0, first layer that has this window)."""
    kind = file.model_type
    if kind == "llama":
        return 0, 0
    window = file.count("sliding_window", _WINDOW, null=0)
    first = 0
    if kind != "mistral":
        first = file.take("max_window_layers", int, _WINDOW_FROM)
        window = window if file.take("use_sliding_window", bool, False) else 0
    said = file.take("layer_types", list, [])
    first = first if window else 0
    full = layers if not window else min(first, layers)
    meant = ["full_attention"] * full + ["sliding_attention"] * (layers - full)
    if said and said != meant:
        raise file.refusal(
            "layer_types", said, f"{full} full layers and then {layers - full} sliding ones wanted"
        )
    return window, first


def _rope(file: ConfigFile) -> Rope:
    """From `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling` (before)."""
    key = "rope_parameters"
    said = dict(file.take(key, dict, {}))
    if not said:
        key = "rope_scaling"
        said = dict(file.take(key, dict, {}))
    theta = said.pop("rope_theta", file.take("rope_theta", float, _THETA))
    old, new = said.pop("type", "default"), said.pop("rope_type", None)
    kind = str(new or old)
    told = {"rope_type": kind, "rope_theta": theta, **said}
    if set(said) != set(_ROPE_NUMBERS.get(kind, ("unknown",))):
        wanted = "; ".join(f"{k} ({', '.join(v)})" for k, v in _ROPE_NUMBERS.items())
        raise file.refusal(key, told, f"rope types with their numbers are {wanted}")
    numbers = {"rope_theta": theta, **said}
    odd = [name for name, value in numbers.items() if not _positive(value)]
    if odd:
        raise file.refusal(key, told, f"a positive number wanted as {', '.join(odd)}")
    if kind == "default":
        return Rope(theta=float(theta))
    if kind == "linear":
        return Rope(theta=float(theta), scaling="linear", factor=float(said["factor"]))
    factor, low, high, original = (said[name] for name in _LLAMA3)
    if low >= high:
        raise file.refusal(key, told, "low_freq_factor must be below high_freq_factor")
    return Rope(
        theta=float(theta),
        scaling="llama3",
        factor=float(factor),
        low_freq_factor=float(low),
        high_freq_factor=float(high),
        original_positions=int(original),
    )


def _positive(value: object) -> bool:
    """True for a number, finite and above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _write_rope(rope: Rope) -> dict[str, Any]:
    """`rope_theta` and `rope_scaling`, which transformers 4 and 5 both read."""
    scaling: dict[str, Any] | None = None
    if rope.scaling == "linear":
        scaling = {"rope_type": "linear", "factor": rope.factor}
    elif rope.scaling == "llama3":
        values = (rope.factor, rope.low_freq_factor, rope.high_freq_factor, rope.original_positions)
        scaling = {"rope_type": "llama3", **dict(zip(_LLAMA3, values, strict=True))}
    return {"rope_theta": rope.theta, "rope_scaling": scaling}


def _codellama(
    size: str, *, layers: int, hidden: int, heads: int, groups: int, ffn: int
) -> Architecture:
    return Architecture(
        name=f"codellama-{size}",
        model_type="llama",
        layers=layers,
        hidden=hidden,
        ffn=ffn,
        positions=16_384,
        position_offset=0,
        vocab=32_000 if size == "34b" else 32_016,
        activation="swiglu",
        bias=False,
        tied=False,
        init_std=0.02,
        attention=Attention(
            heads=heads,
            groups=groups,
            size=hidden // heads,
            qkv_bias=False,
            rope=Rope(theta=1e6),
        ),
        norm=Norm(kind="rms", eps=1e-5),
    )


PRESETS = {
    size.name: size
    for size in (
        _codellama("7b", layers=32, hidden=4096, heads=32, groups=32, ffn=11_008),
        _codellama("13b", layers=40, hidden=5120, heads=40, groups=40, ffn=13_824),
        _codellama("34b", layers=48, hidden=8192, heads=64, groups=8, ffn=22_016),
        _codellama("70b", layers=80, hidden=8192, heads=64, groups=8, ffn=28_672),
    )
}
