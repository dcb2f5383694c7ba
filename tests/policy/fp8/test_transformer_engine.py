"""Layers of Transformer Engine: in FP8 when the policy says so, and never on codes of old weights.

The layers are the scene's. A GPU with Transformer Engine runs the last test with its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reft_megatron.packages import transformer_engine
from reft_megatron.policy.families import find_architecture
from reft_megatron.policy.fp8 import readiness
from tests.policy.fp8.precision_scene import (
    BF16,
    FP8,
    ROLLOUT,
    SHORT,
    Played,
    apart,
    check_ranks_agree,
    learn,
    play,
    sample,
    scored,
)
from tests.policy.fp8.transformer_engine_scene import install, uninstall
from tests.policy.scene import LAYOUTS, ONE, Layout, open_other, open_policy

TE = "fp8.provider=te"
TINY = find_architecture("galactica-tiny")


@contextlib.contextmanager
def installed() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readiness, "_check_transformer_engine", lambda recipe, device: None)
        install(patch)
        yield
        uninstall()


@pytest.fixture
def scene() -> Iterator[None]:
    with installed():
        yield


def play_its(layout: Layout, fields: Any) -> Played:
    """`play` with its layers."""
    with installed():
        return play(layout, fields, TE)


@pytest.mark.usefixtures("alone", "scene")
def test_its_layers_stand_where_ours_do():
    (ours,), (its,), (plain,) = (
        open_policy(ONE, *settings, total_steps=None).chunks
        for settings in (
            (FP8, "fp8.first_layers_bf16=1"),
            (FP8, TE, "fp8.first_layers_bf16=1"),
            (BF16,),
        )
    )
    told = [
        sorted(
            (part.key, tuple(part.global_shape))
            for part in chunk.sharded_state_dict().values()
            if hasattr(part, "global_shape")
        )
        for chunk in (ours, its, plain)
    ]
    assert told[0] == told[1] == told[2]
    names = {type(m).__module__.rpartition(".")[2] for m in its.decoder.layers[1].modules()}
    assert {"transformer_engine"} < names
    assert "linear" not in names, "none of ours"
    assert its.decoder.layers[1].mlp.activation_func is torch.nn.functional.gelu
    first = {type(m).__module__.rpartition(".")[2] for m in its.decoder.layers[0].modules()}
    assert "transformer_engine" not in first


@pytest.mark.usefixtures("alone", "scene")
@pytest.mark.parametrize("recipe", ["tensorwise", "mxfp8"])
def test_products_are_fp8_where_the_policy_says_so(fields, recipe: str):
    """Tokens may be any number; scores differ as much as those of our own layers do."""
    how = (SHORT, f"fp8.te_recipe={recipe}")
    plain, ours = open_policy(ONE, BF16, SHORT), open_policy(ONE, FP8, SHORT)
    always, rollout = (open_policy(ONE, precision, TE, *how) for precision in (FP8, ROLLOUT))
    exact = scored(plain)
    np.testing.assert_array_equal(scored(rollout), exact)
    noise, its = apart(scored(ours), exact), apart(scored(always), exact)
    assert 0 < its < 3 * noise  # a scale for a tensor, theirs, is coarser than one for a token
    assert sample(rollout) == sample(always) != sample(plain)
    np.testing.assert_array_equal(scored(rollout), exact)
    layer = rollout.chunks[0].decoder.layers[0].mlp.linear_fc1
    assert not layer._fp8_workspaces, "an update has a use for the memory"
    assert learn(rollout, fields) == learn(plain, fields)


@pytest.mark.usefixtures("alone", "scene")
@pytest.mark.parametrize("precision", [FP8, ROLLOUT])
@pytest.mark.parametrize("recompute", ["none", "full"])
def test_no_stale_codes_are_sampled_from(fields, tmp_path: Path, precision: str, recompute: str):
    """After updates, and after loading, a policy says what one says that never was another."""
    how = (precision, TE, SHORT, f"model.recompute={recompute}")
    policy = open_policy(ONE, *how)
    before = sample(policy)
    assert sample(policy) == before
    learn(policy, fields)
    moved = sample(policy)
    assert moved != before
    learn(policy, fields)  # codes of the sampler have none for the backward pass
    policy.save(tmp_path / "moved", extra={})
    fresh = open_other(ONE, *how)
    sample(fresh)
    fresh.load(tmp_path / "moved", weights_only=True)
    assert sample(fresh) == sample(policy)
    np.testing.assert_array_equal(scored(fresh), scored(policy))


@pytest.mark.usefixtures("alone", "scene")
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_not_finite_is_counted(value: float):
    (chunk,) = open_policy(ONE, FP8, TE).chunks
    layer, weights = chunk.decoder.layers[0].self_attention.linear_qkv, chunk.config.fp8_weights
    x = torch.ones(3, 1, TINY.hidden, dtype=torch.bfloat16, requires_grad=True)
    out, _ = layer(x)
    assert weights.faults(x.device).item() == 0
    out.backward(torch.full_like(out, value))
    assert weights.faults(x.device).item() == 1
    with torch.no_grad():
        layer(torch.full_like(x, value))
    assert weights.faults(x.device).item() == 2


@pytest.mark.megatron
def test_two_ranks_with_tokens_of_their_own_say_and_learn_the_same(ranks, alone, fields):
    """Each rank's run of tokens is padded behind itself, and nobody sees the padding of another."""
    here = play_its(ONE, fields)
    seen = ranks(2, play_its, LAYOUTS["tp2"], fields)
    with installed():
        noise = apart(scored(open_policy(ONE)), scored(open_policy(ONE, FP8, TE)))
    check_ranks_agree(here, seen, noise=noise)


def on_a_gpu() -> tuple[float, float]:
    """How far scores with the real layers, and with ours, are from those in bf16."""
    exact, its, ours = (
        scored(open_policy(ONE, SHORT, *settings)) for settings in ((BF16,), (FP8, TE), (FP8,))
    )
    return apart(its, exact), apart(ours, exact)


@pytest.mark.gpu
def test_the_real_one_is_as_near_as_ours(on_gpu: Callable[..., Any]):
    if not (found := transformer_engine()).usable:
        pytest.skip(found.told)
    its, ours = on_gpu(on_a_gpu)
    assert 0 < its < 3 * ours
