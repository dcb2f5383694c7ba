"""Plans as people and machines read them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from reft_megatron.policy.plan.memory import Memory
from reft_megatron.policy.plan.search import search, try_remedies
from reft_megatron.policy.plan.speed import GPUS
from reft_megatron.policy.plan.table import (
    WIDTH,
    as_dict,
    complaint,
    gigabytes,
    largest_item,
    plan_table,
    reasons,
    text,
    trial_table,
)
from tests.policy.plan.shapes import case_of
from tests.policy.scene import ONE, Layout

H100 = GPUS["h100"]
FOUR = case_of(Layout(world=4))


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0"),
        (1.5e6, "0.002"),
        (0.5e9, "0.500"),
        (0.9996e9, "1.00"),
        (9.994e9, "9.99"),
        (9.996e9, "10.0"),
        (13.32e9, "13.3"),
        (99.96e9, "100"),
        (167.2e9, "167"),
        (-32.94e9, "-32.9"),
    ],
)
def test_sizes_have_three_digits(size: float, shown: str):
    assert gigabytes(size) == shown


def test_a_row_says_layout_items_and_times():
    found = search(FOUR, H100, memory=80e9)
    lines = text(plan_table(found.fitting, usable=found.usable)).splitlines()
    assert lines[0].split() == [
        *("TP", "PP", "VPP", "DP", "SP", "weights", "grads", "Adam", "ref.", "activ.", "layer"),
        *("logits", "cache", "prefill", "total", "free", "generate", "score", "update", "step"),
    ]
    assert max(map(len, lines)) <= WIDTH
    best = found.fitting[0]
    cells = lines[2].split()
    assert cells[:5] == ["1", "1", "1", "4", "-"]
    assert cells[5] == gigabytes(best.memory.weights)
    assert cells[-6] == gigabytes(best.memory.total)
    assert cells[-5] == gigabytes(76e9 - best.memory.total)
    assert cells[-1] == f"{best.times.step:.3f}"
    short = text(plan_table(found.fitting, usable=found.usable, times=False)).splitlines()
    assert short[0].split()[-1] == "free"


def test_below_the_table_are_the_layers_of_uneven_stages():
    shape = case_of(Layout(world=4), "parallel.pipeline=2", "parallel.pipeline_layers=[3, 1]")
    found = search(shape, H100, memory=80e9)
    told = text(plan_table(found.fitting, usable=found.usable)).splitlines()[-1]
    assert told.strip() == "Layers of each stage: PP 2: 3, 1."
    even = [plan for plan in found.fitting if plan.case.parallel.pipeline != 2]
    assert "Layers" not in text(plan_table(even, usable=found.usable))


def test_a_table_is_plain_text_whatever_the_terminal_asks_for(monkeypatch):
    found = search(FOUR, H100, memory=80e9)
    plain = text(plan_table(found.fitting, usable=found.usable))
    for name, value in (("FORCE_COLOR", "1"), ("COLUMNS", "20"), ("TTY_COMPATIBLE", "1")):
        monkeypatch.setenv(name, value)
    assert text(plan_table(found.fitting, usable=found.usable)) == plain


def test_the_largest_item_is_one_of_the_worst_moment():
    update = Memory(weights=5, gradients=1, activations=8, layer=3, cache=9)
    assert largest_item(update) == "activations"
    generation = Memory(weights=5, gradients=1, activations=6, cache=9)
    assert largest_item(generation) == "cache"
    assert largest_item(Memory(weights=5, activations=6, cache=7, visit=8)) == "visit"


def test_a_visitor_has_a_column_where_there_is_one():
    plan = search(FOUR, H100, memory=80e9).fitting[0]
    waits = replace(plan, memory=replace(plan.memory, visit=plan.memory.activations + 10**9))
    lines = text(plan_table([plan, waits], usable=80e9)).splitlines()
    assert lines[0].split()[9] == "visit"
    assert max(map(len, lines)) <= WIDTH
    assert [line.split()[9] for line in lines[2:]] == ["0", gigabytes(waits.memory.visit)]
    assert "the largest item is the reference model's visit with" in complaint(waits, 1e9)


@pytest.mark.parametrize("precision", ["fp8_rollout", "fp8"])
def test_codes_of_weights_have_one_column(precision: str):
    found = search(case_of(ONE, f"model.precision={precision}"), H100, memory=80e9)
    lines = text(plan_table(found.fitting, usable=found.usable)).splitlines()
    assert lines[0].split().count("FP8") == 1
    assert max(map(len, lines)) <= WIDTH
    assert "\u2026" not in "".join(lines), "nothing is cut"


def test_what_does_not_fit_is_said_in_one_sentence():
    plan = search(FOUR, H100, memory=1e6).smallest
    item = largest_item(plan.memory)
    size = gigabytes(getattr(plan.memory, item))
    told = complaint(plan, 0.95e6)
    assert told.startswith("galactica-tiny as TP x PP x VPP x DP = ")
    assert f"needs {gigabytes(plan.memory.total)} GB on a rank, which has 0.001; " in told
    assert told.endswith(f"with {size} GB")


def test_reasons_are_said_once():
    found = search(case_of(Layout(world=16)), H100, memory=80e9)
    assert reasons(found.left_out) == [
        "3 x galactica-tiny has 4 attention heads, which parallel.tensor = 8 does not divide",
        "2 x galactica-tiny has 4 layers, fewer than parallel.pipeline = 8",
        "1 x galactica-tiny has 4 layers, fewer than parallel.pipeline = 16",
        "1 x galactica-tiny has 4 attention heads, which parallel.tensor = 16 does not divide",
    ]


def test_trials_say_what_to_set_and_whether_it_helps():
    trials = try_remedies(FOUR, H100, memory=1e6)
    lines = text(trial_table(trials)).splitlines()
    assert lines[0].split("  ")[0].strip() == "what to try"
    rows = [line for line in lines[2:] if line.strip()]
    assert [row.split("  ")[0].strip() for row in rows] == [trial.change for trial in trials]
    assert all(" no" in row for row in rows)


def test_everything_as_json():
    found = search(case_of(Layout(world=8)), H100, memory=80e9)
    told = json.loads(json.dumps(as_dict(found, [])))
    assert told["usable"] == 76e9
    assert len(told["fitting"]) == len(found.fitting)
    first = told["fitting"][0]
    assert first["tensor"] * first["pipeline"] * first["data"] == 8
    assert first["memory"]["total"] + first["free"] == 76e9
    assert first["seconds"]["step"] == found.fitting[0].times.step
    assert told["left_out"][0]["reason"].startswith("galactica-tiny has ")
