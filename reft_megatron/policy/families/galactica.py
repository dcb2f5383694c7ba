"""Galactica: the OPT architecture with exact GELU.

Decoder-only, LayerNorm before each block and at the end, learned positions, erf GELU, biases and
LayerNorm affine on, tied embeddings (Taylor et al. 2022, table 5). The tiny size is this
project's own: the smallest that shows the method in minutes on a CPU.
"""

from __future__ import annotations

from reft_megatron.policy.families.architecture import Architecture

__all__ = ["PRESETS"]


def _size(
    name: str,
    *,
    layers: int,
    hidden: int,
    heads: int,
    positions: int = 2048,
    init_std: float = 0.02,
) -> Architecture:
    return Architecture(
        name=f"galactica-{name}",
        layers=layers,
        hidden=hidden,
        heads=heads,
        ffn=4 * hidden,
        positions=positions,
        activation="gelu",
        bias=True,
        norm_affine=True,
        norm_eps=1e-5,
        tied=True,
        init_std=init_std,
    )


PRESETS = {
    size.name: size
    for size in (
        # Narrow models learn to copy several times faster from larger initial weights.
        _size("tiny", layers=4, hidden=96, heads=4, positions=1024, init_std=0.08),
        _size("125m", layers=12, hidden=768, heads=12),
        _size("1.3b", layers=24, hidden=2048, heads=32),
        _size("6.7b", layers=32, hidden=4096, heads=32),
        _size("30b", layers=48, hidden=7168, heads=56),
        _size("120b", layers=96, hidden=10240, heads=80),
    )
}
