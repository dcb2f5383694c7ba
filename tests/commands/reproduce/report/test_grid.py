"""Tests of what stands in the cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from reft_megatron.commands.reproduce.report.grid import (
    Cell,
    differences,
    every_k,
    figures,
    gains,
)
from reft_megatron.commands.reproduce.results import Method, PaperCell, Results
from reft_megatron.rewards.statistics import Estimate
from tests.commands.reproduce.test_names import METHOD

MINUS = "\N{MINUS SIGN}"


def about(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.03, high=value + 0.03)


def method(name: str, seed: int, top1: float) -> Method:
    ours = name == "ReFT"
    return replace(
        METHOD,
        name=name,
        seed=seed,
        role="ours" if ours else "baseline",
        figures={"top-1": about(top1), "vote@2": about(top1 + 0.05), "vote@8": about(top1 + 0.1)},
        differences={"top-1": about(0.1), "vote@2": about(0.0)} if ours else {},
        gains={"vote@8 - top-1": about(0.1)} if ours else {},
        paper={"top-1": PaperCell(share=0.684, source="t2"),
               "vote@100": PaperCell(share=0.71, source="t4")} if ours else {},
    )  # fmt: skip


def results(*methods: Method) -> Results:
    seeds = tuple(dict.fromkeys(m.seed for m in methods))
    return Results(
        name="r", title="R", folder=Path("r"), split="test", num_problems=1000, seeds=seeds,
        methods=methods, stage_seconds={},
    )  # fmt: skip


ONE = results(method("SFT", 1, 0.4), method("ReFT", 1, 0.6))
THREE = results(
    *(method(n, s, v) for s in (1, 2, 3) for n, v in (("SFT", 0.4), ("ReFT", 0.5 + s / 20)))
)


def test_one_seed_has_intervals_and_the_papers_figures():
    grid = figures(ONE, [1])
    assert grid.columns == ("top-1", "vote@8", "vote@100")
    assert [(row.name, row.ours) for row in grid.rows] == [("SFT", False), ("ReFT", True)]
    assert grid.rows[0].cells == (
        Cell(value="40.0%", range="37.0 to 43.0"),
        Cell(value="50.0%", range="47.0 to 53.0"),
        Cell(),
    )
    assert grid.rows[1].cells == (
        Cell(value="60.0%", range="57.0 to 63.0", paper="68.4%", gap=f"{MINUS}8.4"),
        Cell(value="70.0%", range="67.0 to 73.0"),
        Cell(paper="71.0%"),
    )
    assert grid.caption == (
        "Share of 1,000 test problems answered right, seed 1, with the 95% interval over problems"
    )


def test_several_seeds_have_medians():
    grid = figures(THREE, [1, 2, 3])
    assert grid.rows[1].cells[0] == Cell(
        value="60.0%", range="55.0 to 65.0", paper="68.4%", gap=f"{MINUS}8.4"
    )
    assert "median over the seeds 1, 2, 3" in grid.caption


def test_a_figure_that_one_seed_lacks_has_no_median():
    lacking = replace(method("ReFT", 2, 0.6), figures={"top-1": about(0.6)})
    grid = figures(results(method("ReFT", 1, 0.6), lacking), [1, 2])
    assert [cell.value for cell in grid.rows[0].cells] == ["60.0%", "", ""]


def test_every_k_has_a_row():
    grid = every_k(ONE, [1])
    assert (grid.columns, [row.name for row in grid.rows]) == (
        ("SFT", "ReFT"), ["top-1", "vote@2", "vote@8"],
    )  # fmt: skip
    assert grid.rows[1].cells[1].value == "65.0%"


def test_differences_are_points_of_the_columns():
    grid = differences(ONE, [1])
    assert grid is not None
    assert (grid.columns, [row.name for row in grid.rows]) == (("top-1",), ["ReFT"])
    assert grid.rows[0].cells == (Cell(value="+10.0", range="+7.0 to +13.0"),)
    assert grid.caption.startswith("Points over SFT on the same problems")


def test_gains_are_of_each_method():
    grid = gains(ONE, [1])
    assert grid is not None
    assert (grid.columns, [row.name for row in grid.rows]) == (("vote@8 - top-1",), ["ReFT"])


def test_nothing_to_compare_is_no_table():
    alone = results(method("SFT", 1, 0.4))
    assert (differences(alone, [1]), gains(alone, [1])) == (None, None)
