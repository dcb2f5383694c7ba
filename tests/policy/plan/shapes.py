"""What the tests of the planner play with: one small model of each kind, and a case."""

from __future__ import annotations

from dataclasses import replace

from reft_megatron.policy.families import Architecture, Attention, Norm, Rope, find_architecture
from reft_megatron.policy.plan.case import Case
from tests.policy.scene import ONE, VOCAB, Layout, configure

OPT = replace(find_architecture("galactica-tiny"), layers=4)
LLAMA = Architecture(
    name="small-llama",
    model_type="llama",
    layers=4,
    hidden=64,
    ffn=160,
    positions=1024,
    position_offset=0,
    vocab=0,
    activation="swiglu",
    bias=False,
    tied=False,
    init_std=0.02,
    attention=Attention(heads=8, groups=2, size=16, qkv_bias=False, rope=Rope(theta=1e4)),
    norm=Norm(kind="rms", eps=1e-5),
)
SHAPES = {
    "opt": OPT,
    # ReLU, no biases, norms without weights, an output matrix of its own
    "bare-opt": replace(
        OPT,
        activation="relu",
        bias=False,
        tied=False,
        attention=replace(OPT.attention, qkv_bias=False),
        norm=replace(OPT.norm, affine=False),
    ),
    "llama": LLAMA,
    "qwen2": replace(LLAMA, tied=True, attention=replace(LLAMA.attention, qkv_bias=True)),
    "qwen3": replace(LLAMA, attention=replace(LLAMA.attention, qk_norm=True)),
    "multi-head-llama": replace(LLAMA, attention=replace(LLAMA.attention, groups=8)),
}


def case_of(
    layout: Layout = ONE,
    *overrides: str,
    shape: str = "opt",
    recipe: str = "ppo",
    spread: float = 2.0,
    vocab: int = VOCAB,
) -> Case:
    return Case(
        architecture=SHAPES[shape],
        config=configure(layout, *overrides),
        recipe=recipe,
        world=layout.world,
        vocab=vocab,
        spread=spread,
    )
