"""All layouts of some GPUs: which fit, in which order, what cannot run, and what would help."""

from __future__ import annotations

from dataclasses import replace

from reft_megatron.policy.families import find_architecture
from reft_megatron.policy.plan.case import Case
from reft_megatron.policy.plan.search import search, try_remedies
from reft_megatron.policy.plan.speed import GPUS
from tests.policy.plan.shapes import case_of
from tests.policy.scene import Layout

H100 = GPUS["h100"]
BASE = (
    *("model.precision=bf16", "model.recompute=full", "generate.slots=64"),
    *("generate.max_prompt_tokens=624", "generate.max_new_tokens=400"),
)


def large(preset: str, gpus: int, *overrides: str, recipe: str = "ppo") -> Case:
    case = case_of(Layout(world=gpus), *BASE, *overrides, recipe=recipe, vocab=50_000)
    return replace(case, architecture=find_architecture(preset))


def sizes(case: Case) -> tuple[int, int, int, int]:
    parallel = case.parallel
    return parallel.tensor, parallel.pipeline, parallel.virtual_pipeline, case.data


def test_fitting_layouts_come_fastest_first_and_the_others_smallest_first():
    found = search(large("galactica-6.7b", 8), H100, memory=40e9)
    assert found.usable == 38e9
    seconds = [plan.times.step for plan in found.fitting]
    needs = [plan.memory.total for plan in found.too_big]
    assert seconds == sorted(seconds)
    assert needs == sorted(needs)
    assert max(plan.memory.total for plan in found.fitting) <= 38e9 < needs[0]
    layouts = [sizes(plan.case) for plan in (*found.fitting, *found.too_big)]
    assert len(set(layouts)) == len(layouts)
    assert {t * p * d for t, p, _, d in layouts} == {8}
    assert {(1, 1, 1, 8), (2, 2, 1, 2), (1, 8, 4, 1), (8, 1, 1, 1)} <= set(layouts)
    assert found.smallest.memory.total == min(p.memory.total for p in found.fitting)
    for plan in found.fitting:
        assert plan.case.parallel.sequence == (plan.case.parallel.tensor > 1)


def test_layouts_that_cannot_run_are_left_out_with_the_trainers_reason():
    found = search(large("galactica-6.7b", 48), H100, memory=80e9)
    told = {(parallel.tensor, parallel.pipeline): reason for parallel, reason in found.left_out}
    assert told[3, 1] == (
        "galactica-6.7b has 32 attention heads, which parallel.tensor = 3 does not divide"
    )
    assert told[1, 48] == "galactica-6.7b has 32 layers, fewer than parallel.pipeline = 48"
    assert told[4, 12] == (
        "galactica-6.7b has 32 layers, which parallel.pipeline x parallel.virtual_pipeline = 24 "
        "does not divide"
    )
    # Without virtual stages layers need not divide.
    layouts = {sizes(plan.case): plan.case.split for plan in (*found.fitting, *found.too_big)}
    assert layouts[4, 12, 1, 1] == (2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 2)


def test_layers_that_were_asked_for_are_those_of_their_layout_alone():
    asked = large("galactica-125m", 4, "parallel.pipeline=2", "parallel.pipeline_layers=[10, 2]")
    found = search(asked, H100, memory=80e9)
    splits = {sizes(plan.case): plan.case.split for plan in found.fitting}
    assert splits[1, 2, 1, 2] == (10, 2)
    assert splits[1, 4, 1, 1] == (3, 4, 4, 1)
    even = large("galactica-125m", 4, "parallel.pipeline_layers=even")
    assert {len(set(plan.case.split)) for plan in search(even, H100, memory=80e9).fitting} == {1}


def test_the_cases_of_the_readme():
    # The 6.7B model on 8 GPUs of 80 GB, and the 120B model on 64.
    assert search(large("galactica-6.7b", 8), H100, memory=80e9).fitting
    assert search(large("galactica-120b", 64), H100, memory=80e9).fitting
    assert not search(large("galactica-120b", 8), H100, memory=80e9).fitting
    # On one of 141 GB weights, gradients, optimizer and reference take all there is.
    alone = large("galactica-6.7b", 1)
    assert not search(alone, GPUS["h200"], memory=141e9).fitting
    trials = {t.change: t for t in try_remedies(alone, GPUS["h200"], memory=141e9)}
    assert {change: bool(trial.found.fitting) for change, trial in trials.items()} == {
        "model.reference_waits=host (a copy for each scoring)": False,
        "ppo.kl_coef=0 (no KL penalty, so no reference)": False,
        "generate.slots=8": False,
        "optimizer.micro_batch_tokens=1024": False,
        "all of these": True,
        "the recipe sft": False,
        "the recipe sft, generate.slots=8": True,
        "the recipe evaluate": True,
        "2 ranks with as much each": True,
    }


def test_lighter_recipes_are_tried_too():
    for recipe, lighter in (("online_sl", {"sft", "evaluate"}), ("offline_sl", {"evaluate"})):
        case = large("galactica-30b", 1, recipe=recipe)
        told = [trial.change.partition(",")[0] for trial in try_remedies(case, H100, memory=80e9)]
        assert {x for x in told if "recipe" in x} == {f"the recipe {name}" for name in lighter}


def test_remedies_are_the_settings_that_still_waste_memory():
    asked = ("model.precision=fp32", "model.recompute=none")
    wasteful = large(
        "galactica-30b", 2, *asked, "parallel.distributed_optimizer=false", "generate.slots=4"
    )
    changes = [trial.change for trial in try_remedies(wasteful, H100, memory=80e9)]
    assert changes[:6] == [
        "model.precision=bf16",
        "model.recompute=full",
        "parallel.distributed_optimizer=true",
        "model.reference_waits=host (a copy for each scoring)",
        "ppo.kl_coef=0 (no KL penalty, so no reference)",
        "optimizer.micro_batch_tokens=1024",
    ]
    assert changes[6] == "all of these"
    last = try_remedies(wasteful, H100, memory=80e9)[-1]
    assert last.change.endswith(" ranks with as much each")
    assert last.found.fitting
    answering = large("galactica-120b", 1, recipe="evaluate")
    told = [trial.change for trial in try_remedies(answering, H100, memory=80e9)]
    more = [f"{ranks} ranks with as much each" for ranks in (2, 4, 8)]
    assert told == ["generate.slots=8", *more]
