"""The order of rows, against the reshapes that say the same in other words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reft_megatron.policy.families import Architecture, Attention, find_architecture
from reft_megatron.policy.huggingface.mapping import Weight, head_of, weights

CODELLAMA = replace(find_architecture("codellama-7b"), layers=2, hidden=24, ffn=10, vocab=50)
GALACTICA = replace(find_architecture("galactica-tiny"), layers=2, vocab=50)


def shaped(heads: int, groups: int, size: int) -> Architecture:
    rope = CODELLAMA.attention.rope
    attention = Attention(heads=heads, groups=groups, size=size, qkv_bias=False, rope=rope)
    return replace(CODELLAMA, attention=attention)


def gather(weight: Weight, tensors: dict[str, np.ndarray]) -> np.ndarray:
    """The weight, by its runs."""
    out = np.full(weight.shape, -1)
    for run in weight.runs:
        out[run.target : run.target + run.rows] = tensors[run.name][run.source :][: run.rows]
    return out


def find(architecture: Architecture, key: str, layer: int | None = 1) -> Weight:
    every = weights(architecture, vocab=50, head="value")
    return next(w for w in every if w.key == key and w.layer == layer)


@pytest.mark.parametrize(("heads", "groups", "size"), [(4, 4, 6), (6, 2, 4), (8, 1, 3)])
def test_queries_keys_and_values_stand_group_by_group(heads: int, groups: int, size: int):
    weight = find(shaped(heads, groups, size), "decoder.layers.self_attention.linear_qkv.weight")
    rng = np.random.default_rng(0)
    stem = "model.layers.1.self_attn.{}_proj.weight"
    q, k, v = (rng.integers(0, 1000, (count * size, 24)) for count in (heads, groups, groups))
    blocks = [x.reshape(groups, -1, 24) for x in (q, k, v)]
    wanted = np.concatenate(blocks, axis=1).reshape(-1, 24)
    tensors = {stem.format(name): x for name, x in zip("qkv", (q, k, v), strict=True)}
    np.testing.assert_array_equal(gather(weight, tensors), wanted)
    assert weight.sources == {name: x.shape for name, x in tensors.items()}


def test_gate_stands_before_up():
    weight = find(CODELLAMA, "decoder.layers.mlp.linear_fc1.weight")
    gate, up = np.arange(480).reshape(2, 10, 24)
    stem = "model.layers.1.mlp.{}_proj.weight"
    tensors = {stem.format("gate"): gate, stem.format("up"): up}
    np.testing.assert_array_equal(gather(weight, tensors), np.concatenate([gate, up]))


@pytest.mark.parametrize("architecture", [CODELLAMA, GALACTICA], ids=lambda a: a.name)
def test_every_row_of_every_tensor_has_one_place(architecture: Architecture):
    seen: dict[str, list[int]] = {}
    for weight in weights(architecture, vocab=50, head="rerank"):
        filled = [row for run in weight.runs for row in range(run.target, run.target + run.rows)]
        assert filled == list(range(weight.shape[0]))
        for run in weight.runs:
            seen.setdefault(run.name, []).extend(range(run.source, run.source + run.rows))
    assert all(sorted(rows) == list(range(len(rows))) for rows in seen.values())


def test_parts_an_architecture_lacks_have_no_weights():
    keys = {w.key for w in weights(GALACTICA, vocab=50, head="none")}
    assert "embedding.position_embeddings.weight" in keys
    assert "output_layer.weight" not in keys  # tied
    keys = {w.key for w in weights(CODELLAMA, vocab=50, head="none")}
    assert "embedding.position_embeddings.weight" not in keys
    assert "output_layer.weight" in keys
    assert not any(key.endswith("bias") for key in keys)
    assert "output_layer.weight" not in {
        w.key for w in weights(CODELLAMA, vocab=50, head="rerank")
    }, "a classifier is published without it"


def test_a_head_is_known_by_either_name():
    assert head_of({"v_head.summary.weight"}) == head_of({"value_head.bias"}) == "value"
    assert head_of({"score.weight"}) == "rerank"
    assert head_of({"lm_head.weight"}) == "none"
