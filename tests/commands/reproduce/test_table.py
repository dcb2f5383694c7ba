"""Tests of the tables, read off a terminal."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console

from reft_megatron.cli import main
from reft_megatron.commands.reproduce.figures import gather
from reft_megatron.commands.reproduce.pipeline import Pipeline
from reft_megatron.commands.reproduce.pipeline_file import read_pipeline
from reft_megatron.commands.reproduce.table import show_results
from tests.commands.reproduce.pipelines import finished


def shown(pipeline: Pipeline) -> list[list[str]]:
    """The cells of every line of the tables."""
    screen = Console(file=io.StringIO(), width=200)
    show_results(screen, gather(pipeline))
    lines = screen.file.getvalue().splitlines()
    return [[cell.strip() for cell in re.split("[\u2502\u2503]", line)[1:-1]] for line in lines]


def test_several_seeds_show_medians_and_ranges(tmp_path: Path) -> None:
    rows = shown(finished(tmp_path))
    assert ["", "top-1", "vote@2", "rerank@2", "pass@2", "top-1 over SFT"] in rows
    assert ["SFT", "37.5 (25.0 to 50.0)", "", "", "", ""] in rows
    assert [
        *("ReFT", "62.5 (50.0 to 75.0)", "75.0 (75.0 to 75.0)", "100.0 (100.0 to 100.0)"),
        *("50.0 (50.0 to 50.0)", "+25.0 (+25.0 to +25.0)"),
    ] in rows
    assert ["ReFT", "+12.5 (+0.0 to +25.0)", "+25.0 (+25.0 to +25.0)"] in rows


def test_ours_stands_beside_the_papers_and_the_gap_where_it_is_the_same_figure(
    tmp_path: Path,
) -> None:
    rows = shown(finished(tmp_path))
    table2, table4 = (f"arXiv 2401.08967 v1, table {n}" for n in (2, 4))
    assert ["SFT, top-1", "37.5", "57.1", "-19.6", table2] in rows
    assert ["ReFT, top-1", "62.5", "68.4", "-5.9", table2] in rows
    assert ["ReFT, vote@2 (paper: vote@100)", "75.0", "70.7", "", table4] in rows
    assert not [row for row in rows if row and row[0].startswith("SFT, vote")]


def test_one_seed_shows_intervals_over_problems(tmp_path: Path) -> None:
    finished(tmp_path)
    rows = shown(read_pipeline(tmp_path / "small.yaml", seeds=[1]))
    assert ["SFT", "25.0 (0.0 to 75.0)", "", "", "", ""] in rows


def test_nothing_is_cut_on_a_narrow_terminal(tmp_path: Path) -> None:
    narrow = Console(file=io.StringIO(), width=90, force_terminal=True, color_system=None)
    show_results(narrow, gather(finished(tmp_path)))
    told = narrow.file.getvalue()
    assert "\u2026" not in told
    assert all(name in told for name in ("rerank@2", "vote@2", "pass@2"))


def test_a_pipe_has_room_for_every_cell(tmp_path: Path, capfd) -> None:
    finished(tmp_path)
    assert main(["reproduce", "--config", str(tmp_path / "small.yaml"), "--table"]) == 0
    told = capfd.readouterr().out
    assert all(cell in told for cell in ("top-1 over SFT", "+25.0 (+25.0 to +25.0)"))
