"""Random weights: the right ones, and the same at every layout."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from reft_megatron.policy import Policy, join
from reft_megatron.policy.families import Attention, Rope, find_architecture
from tests.policy.scene import (
    LAYOUTS,
    ONE,
    SPREAD,
    TOKENIZER,
    VOCAB,
    Layout,
    assemble,
    configure,
    weights_of,
)

STD = find_architecture("galactica-tiny").init_std


def fresh(layout: Layout, seed: int) -> Policy:
    config = configure(layout, f"run.seed={seed}")
    mesh = join(config.parallel, seed=seed, timeout_s=300, threads=1)
    return Policy(config, mesh, TOKENIZER, total_steps=None)


def play_fresh(layout: Layout, seed: int) -> list[Any]:
    return weights_of(fresh(layout, seed))


@pytest.fixture(scope="module")
def drawn(alone) -> dict[str, np.ndarray[Any, Any]]:
    return assemble([play_fresh(ONE, 5)])


@pytest.mark.megatron
@pytest.mark.parametrize("name", SPREAD)
def test_every_layout_starts_from_the_same_weights(ranks, drawn, name: str):
    layout = LAYOUTS[name]
    other = assemble(ranks(layout.world, play_fresh, layout, 5))
    assert other.keys() == drawn.keys()
    for key, tensor in drawn.items():
        np.testing.assert_array_equal(other[key], tensor, err_msg=key)


def wanted_std(name: str) -> float:
    if "norm" in name or name.split("/", maxsplit=1)[0].endswith("bias"):
        return 0.0
    # What writes into the residual stream shrinks by sqrt(2 x 4 layers).
    residual = "linear_proj" in name or "linear_fc2" in name
    return STD / 8**0.5 if residual else STD


def test_weights_are_normal_biases_zero_and_norms_identities(drawn):
    trunk = {k: x for k, x in drawn.items() if not k.startswith("value_head")}
    for name, tensor in trunk.items():
        assert tensor.std() == pytest.approx(wanted_std(name), rel=0.03), name
        one = "norm" in name and name.split("/")[0].endswith("weight")
        assert tensor.mean() == pytest.approx(1.0 if one else 0.0, abs=0.02 * STD), name


def test_the_value_head_is_uniform_within_torchs_bound(drawn):
    bound = 1 / 96**0.5
    weight = drawn["value_head.weight"]
    assert 0.9 * bound < abs(weight).max() <= bound
    assert weight.std() == pytest.approx(bound / 3**0.5, rel=0.15)
    assert abs(drawn["value_head.bias"][0]) <= bound


def test_a_gated_weight_is_drawn_once(alone, monkeypatch):
    """Though its halves are two slices, of one drawing."""
    drawn: list[str] = []

    def count(seed: int, name: str) -> torch.Generator:
        drawn.append(name)
        return torch.Generator().manual_seed(len(drawn))

    monkeypatch.setattr("reft_megatron.policy.initialise._generator", count)
    gated = replace(
        find_architecture("codellama-7b"), layers=2, hidden=96, ffn=64, vocab=VOCAB,
        attention=Attention(heads=4, groups=2, size=24, qkv_bias=False, rope=Rope(theta=1e4)),
    )  # fmt: skip
    config = configure(ONE)
    policy = Policy(config, alone, TOKENIZER, total_steps=None, architecture=gated)
    assert len(drawn) == len(set(drawn))
    assert sum("linear_fc1.weight" in name for name in drawn) == 2
    (chunk,) = policy.chunks
    gate, up = chunk.decoder.layers[0].mlp.linear_fc1.weight.detach().chunk(2)
    assert gate.std() == pytest.approx(0.02, rel=0.05)
    assert up.std() == pytest.approx(0.02, rel=0.05)
    assert not torch.equal(gate, up)


def test_layers_and_seeds_differ_and_padding_is_zero(drawn):
    layers = [x for name, x in drawn.items() if "linear_fc1.weight" in name]
    assert len({x.tobytes() for x in layers}) == 4
    (chunk,) = fresh(ONE, 6)._chunks
    embedding = chunk.embedding.word_embeddings.weight.detach()
    assert not embedding[VOCAB:].any()
    assert not np.array_equal(embedding[:VOCAB], drawn["embedding.word_embeddings.weight"])
