"""OPT, and Galactica, which is OPT with the exact GELU.

Decoder-only, LayerNorm before each block and at the end, learned positions (two rows stand before
position 0), erf GELU or ReLU, tied embeddings (Zhang et al. 2022; Taylor et al. 2022, table 5). The
tiny size is this project's own: the smallest that shows the method in minutes on a CPU.
"""

from __future__ import annotations

from typing import Any

from reft_megatron.policy.families.architecture import Architecture, Attention, Norm
from reft_megatron.policy.families.config_file import ConfigFile

__all__ = ["MODEL_TYPES", "PRESETS", "STEMS", "read", "write"]

MODEL_TYPES = {"opt": "OPT"}
"""Model types of this family, and how transformers' classes of each begin."""

_LAYER = "model.decoder.layers.{}."
STEMS: dict[str, tuple[str, ...]] = {
    "embedding": ("model.decoder.embed_tokens",),
    "positions": ("model.decoder.embed_positions",),
    "attention_norm": (_LAYER + "self_attn_layer_norm",),
    "qkv": tuple(_LAYER + f"self_attn.{x}_proj" for x in "qkv"),
    "proj": (_LAYER + "self_attn.out_proj",),
    "ffn_norm": (_LAYER + "final_layer_norm",),
    "fc1": (_LAYER + "fc1",),
    "fc2": (_LAYER + "fc2",),
    "final_norm": ("model.decoder.final_layer_norm",),
    "output": ("lm_head",),
}
"""transformers' names of each part, without `.weight` and `.bias`; {} is the layer."""

_OFFSET = 2
_EPS = 1e-5  # of torch's LayerNorm; no key of config.json says it


def read(file: ConfigFile) -> Architecture:
    """The architecture that `file` describes; CheckpointError for what is not supported."""
    hidden = file.count("hidden_size")
    layers = file.count("num_hidden_layers")
    heads = file.count("num_attention_heads")
    file.expect(
        "do_layer_norm_before",
        True,
        why="LayerNorm after each block (opt-350m) is another network; use another size",
    )
    file.expect("_remove_final_layer_norm", False, why="the final LayerNorm is wanted")
    file.expect(
        "word_embed_proj_dim", hidden, why=f"embeddings must be hidden_size = {hidden} wide"
    )
    file.expect("layerdrop", 0, 0.0, why="layers cannot be dropped in training")
    file.expect("learned_embeddings", True, why="positions must be learned")
    file.expect("scale_embeddings", False, why="embeddings are not scaled")
    activation = file.take("activation_function", str, "relu")
    if activation not in ("gelu", "relu"):
        raise file.refusal("activation_function", activation, "gelu (exact) or relu wanted")
    bias = file.take("enable_bias", bool, True)
    architecture = _opt(
        f"opt-{layers}x{hidden}",
        layers=layers,
        hidden=hidden,
        heads=heads,
        ffn=file.count("ffn_dim"),
        positions=file.count("max_position_embeddings", 2048),
        vocab=file.count("vocab_size"),
        activation=activation,
        bias=bias,
        affine=file.take("layer_norm_elementwise_affine", bool, True),
        tied=file.take("tie_word_embeddings", bool, True),
        init_std=file.take("init_std", float, 0.02),
    )
    file.finish()
    return architecture


def write(architecture: Architecture, vocab: int) -> dict[str, Any]:
    """What `config.json` says of the network, with `vocab` embedding rows."""
    return {
        "activation_function": architecture.activation,
        "do_layer_norm_before": True,
        "_remove_final_layer_norm": False,
        "enable_bias": architecture.bias,
        "ffn_dim": architecture.ffn,
        "hidden_size": architecture.hidden,
        "init_std": architecture.init_std,
        "layer_norm_elementwise_affine": architecture.norm.affine,
        "layerdrop": 0.0,
        "max_position_embeddings": architecture.positions,
        "num_attention_heads": architecture.attention.heads,
        "num_hidden_layers": architecture.layers,
        "tie_word_embeddings": architecture.tied,
        "vocab_size": vocab,
        "word_embed_proj_dim": architecture.hidden,
    }


def _opt(
    name: str,
    *,
    layers: int,
    hidden: int,
    heads: int,
    ffn: int,
    positions: int = 2048,
    vocab: int = 0,
    activation: Any = "gelu",
    bias: bool = True,
    affine: bool = True,
    tied: bool = True,
    init_std: float = 0.02,
) -> Architecture:
    return Architecture(
        name=name,
        model_type="opt",
        layers=layers,
        hidden=hidden,
        ffn=ffn,
        positions=positions,
        position_offset=_OFFSET,
        vocab=vocab,
        activation=activation,
        bias=bias,
        tied=tied,
        init_std=init_std,
        attention=Attention(heads=heads, groups=heads, size=hidden // heads, qkv_bias=bias),
        norm=Norm(kind="layer", eps=_EPS, affine=affine),
    )


def _galactica(name: str, *, layers: int, hidden: int, heads: int, **other: Any) -> Architecture:
    return _opt(
        f"galactica-{name}", layers=layers, hidden=hidden, heads=heads, ffn=4 * hidden, **other
    )


PRESETS = {
    size.name: size
    for size in (
        # Narrow models learn to copy several times faster from larger initial weights.
        _galactica("tiny", layers=4, hidden=96, heads=4, positions=1024, init_std=0.08),
        _galactica("125m", layers=12, hidden=768, heads=12),
        _galactica("1.3b", layers=24, hidden=2048, heads=32),
        _galactica("6.7b", layers=32, hidden=4096, heads=32),
        _galactica("30b", layers=48, hidden=7168, heads=56),
        _galactica("120b", layers=96, hidden=10240, heads=80),
    )
}
