"""The roofline: against figures worked out by hand, and in the directions that must hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reft_megatron.policy.families import find_architecture
from reft_megatron.policy.plan.case import Case
from reft_megatron.policy.plan.speed import GPUS, Times, nearest_gpu, predict_times
from tests.policy.plan.shapes import case_of
from tests.policy.scene import ONE, Layout

SETTINGS = (
    *("model.precision=bf16", "model.vocab_multiple=1", "optimizer.micro_batch_tokens=4096"),
    *("generate.max_prompt_tokens=624", "generate.max_new_tokens=400", "generate.slots=64"),
    *("ppo.batch_size=64", "ppo.updates_per_batch=1"),
)


def large(layout: Layout, *overrides: str, recipe: str = "ppo") -> Case:
    case = case_of(layout, *SETTINGS, *overrides, recipe=recipe, vocab=50_000)
    return replace(case, architecture=find_architecture("galactica-6.7b"))


def times(layout: Layout, *overrides: str, recipe: str = "ppo", gpu: str = "h100") -> Times:
    return predict_times(large(layout, *overrides, recipe=recipe), GPUS[gpu])


def test_the_phases_of_one_gpu_by_hand():
    seen = times(ONE)
    # 12 H^2 weights a layer and the vocabulary, 2 FLOPs each; attention 2 x 1024 x H a layer
    weights = 32 * 12 * 4096**2 + 50_000 * 4096
    flops = 2 * weights + 32 * 2 * 1024 * 4096
    tokens = 64 * 1024
    forward = tokens * flops / (0.4 * 989e12)
    assert seen.score == pytest.approx(2 * forward, rel=1e-6)
    again = tokens * 2 * 50_000 * 4096 / (0.4 * 989e12)
    step = weights * 30 / (0.6 * 3.35e12)
    assert seen.update == pytest.approx(3 * forward + again + step, rel=1e-6)
    # A step reads 13.3 GB of weights, and half a cache: 64 rows of 824 tokens, 0.5 MB each.
    cache = 64 * 824 * 2 * 4096 * 2 * 32
    token = (2 * weights + cache) / (0.6 * 3.35e12)
    prefill = 64 * 624 * flops / (0.4 * 989e12)
    assert seen.generate == pytest.approx(prefill + 400 * token, rel=1e-6)
    assert seen.step == seen.generate + seen.score + seen.update


def test_each_recipe_has_its_phases():
    sft = times(ONE, recipe="sft")
    assert (sft.generate, sft.score) == (0, 0)
    assert sft.update > 0
    evaluate = times(ONE, recipe="evaluate")
    assert (evaluate.score, evaluate.update) == (0, 0)
    assert evaluate.generate > 0
    assert times(ONE, "ppo.kl_coef=0").score == times(ONE).score / 2
    online = times(ONE, "online_sl.updates_per_batch=3", recipe="online_sl")
    once = times(ONE, "online_sl.updates_per_batch=1", recipe="online_sl")
    assert online.score == 0
    assert online.generate > 0
    assert online.update == pytest.approx(3 * once.update)


@pytest.mark.parametrize(
    ("slower", "faster"),
    [
        # Recomputation costs a forward pass.
        ((ONE, "model.recompute=full"), (ONE,)),
        # A pipeline stands still less when its stages are in chunks.
        (
            (Layout(world=4, pipeline=4),),
            (Layout(world=4, pipeline=4, virtual=2),),
        ),
        # Data ranks pass fewer messages than tensor ranks across nodes.
        ((Layout(world=16, tensor=16),), (Layout(world=16, tensor=2),)),
        ((ONE, "model.precision=fp32"), (ONE,)),
    ],
)
def test_what_must_be_slower_is(slower, faster):
    assert times(*slower).update > times(*faster).update


def test_a_faster_memory_generates_faster():
    assert times(ONE, gpu="h200").generate < times(ONE, gpu="h100").generate
    assert times(ONE, gpu="h100").update < times(ONE, gpu="a100").update


def test_a_small_model_waits_for_its_host():
    case = case_of(ONE, "generate.slots=64", "ppo.batch_size=1", "generate.max_new_tokens=100")
    seen = predict_times(case, GPUS["h100"])
    assert seen.generate == pytest.approx(100 * 4 * 3e-4, rel=0.01)


@pytest.mark.parametrize(
    ("memory", "name"), [(80e9, "H100 80GB"), (141e9, "H200 141GB"), (24e9, "H100 80GB")]
)
def test_the_kind_of_a_gpu_by_its_memory(memory: float, name: str):
    assert nearest_gpu(memory).name == name
