"""Tests of what figures are called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reft_megatron.commands.reproduce.names import (
    columns,
    curve,
    kind_of,
    largest,
    ordered,
    points,
    share,
)
from reft_megatron.commands.reproduce.results import Method, PaperCell
from reft_megatron.rewards.statistics import Estimate

HALF = Estimate(value=0.5, low=0.401, high=0.6)
METHOD = Method(
    name="SFT", role="baseline", meaning="", seed=1, runs=(), evaluation=Path("x"), ledger=None,
    reranker=None, auc=None, seconds=1.0, differences={}, paper={},
    figures=dict.fromkeys(["pass@2", "pass@16", "vote@16", "vote@2", "top-1", "vote@4"], HALF),
)  # fmt: skip


def test_figures_are_read_by_kind_then_by_k():
    assert ordered(["pass@2", "vote@16", "top-1", "vote@2", "vote@2", "problems", "rerank@2"]) == [
        "top-1", "vote@2", "vote@16", "rerank@2", "pass@2",
    ]  # fmt: skip
    assert [kind_of(name) for name in ("top-1", "weighted@32")] == ["top-1", "weighted"]


def test_columns_are_the_most_samples_of_everyone_and_the_papers():
    paper = {"vote@100": PaperCell(share=0.6, source="table 4")}
    few = replace(METHOD, figures={"vote@8": HALF}, paper=paper)
    assert columns([METHOD]) == ["top-1", "vote@16", "pass@16"]
    assert columns([METHOD, few]) == ["top-1", "vote@8", "vote@16", "vote@100", "pass@16"]


def test_a_curve_climbs_in_k():
    assert curve(METHOD.figures, "vote") == {2: HALF, 4: HALF, 16: HALF}
    assert curve(METHOD.figures, "rerank") == {}


@pytest.mark.parametrize(
    ("difference", "text"), [(0.0123, "+1.2"), (-0.105, "\N{MINUS SIGN}10.5"), (0.0, "+0.0")]
)
def test_points_have_a_sign(difference: float, text: str):
    assert points(difference) == text


def test_shares_are_percent():
    assert share(0.684) == "68.4%"


def test_the_largest_k():
    names = dict.fromkeys(["top-1", "vote@2", "vote@16", "vote@4", "pass@1"])
    assert [largest(names, way) for way in ("vote", "pass", "top-1", "rerank")] == [
        *("vote@16", "pass@1", "top-1", None),
    ]
