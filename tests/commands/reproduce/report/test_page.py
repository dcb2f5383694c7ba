"""Tests of the page: what it says, that it is whole, and that nothing in it runs but our script."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reft_megatron.commands.reproduce.report import write_report
from reft_megatron.commands.reproduce.results import Results
from reft_megatron.errors import DataError
from tests.commands.reproduce.report.scene import NASTY, results_of
from tests.log.test_report import Page


def test_every_section_is_there(page: Path):
    text = Page(page).text
    for heading in ("The table", "Paired differences", "Accuracy against k", "Learning curves",
                    "Verdicts over time", "Reward against KL", "Calibration of the reranker",
                    "Completions", "Methods and runs"):  # fmt: skip
        assert heading in text
    for told in ("How ReFT was made.", "top-1, over SFT", "vote@8 minus top-1", "Seed 2"):
        assert told in text
    whole = " ".join(text)
    assert "40 of 40 problems of seed 1. Of each method" in whole
    assert "paper 68.4%, gap" in whole
    assert "Sources: table 2; table 4." in whole


def test_the_lead_tells_the_result(scene: Results, page: Path):
    ours = sorted(m.figures["top-1"].value for m in scene.methods if m.name == "ReFT")
    text = " ".join(Page(page).text)
    lead = f"ReFT answers {50 * sum(ours):.1f}% of 40 test problems right at the first try, median"
    assert lead in text


def test_the_lead_without_ours_or_a_baseline_is_about_one_method(tmp_path: Path):
    skills = {"SFT": 0.5, "ReFT": 0.6}
    small = results_of(tmp_path, seeds=(1, 2), problems=4, samples=2, steps=2, skills=skills)
    rivals = tuple(replace(method, role="rival") for method in small.methods)
    write_report(tmp_path / "report.html", replace(small, methods=rivals))
    last = [m.figures["top-1"].value for m in small.methods if m.name == "ReFT"]
    lead = f"ReFT answers {50 * sum(last):.1f}% of 4 test problems right at the first try, median"
    assert lead in " ".join(Page(tmp_path / "report.html").text)


def test_what_a_model_wrote_is_text(page: Path):
    found = Page(page)
    assert found.tags.count("script") == 1, "our own"
    images = [value for name, value in found.attributes if name == "src"]
    assert all(source.startswith("data:image/png;base64,") for source in images)
    assert [name for name, _ in found.attributes if name.startswith("on")] == []
    assert any(NASTY in text for text in found.text)
    assert found.tags.count("article") == 40


def test_nothing_is_fetched(page: Path):
    text = page.read_text()
    assert not any(bad in text for bad in ("http:", "https:", "//cdn", "@import", "url("))
    policy = next(v for _, v in Page(page).attributes if v.startswith("default-src"))
    assert policy.startswith("default-src 'none'; img-src data:; ")


def test_pictures_are_told_and_tables_have_captions(page: Path):
    found = Page(page)
    texts = [value for name, value in found.attributes if name == "alt"]
    assert len(texts) == found.tags.count("img") > 10
    assert all(len(text) > 20 for text in texts)
    assert found.tags.count("caption") == found.tags.count("table")
    ids = [value for name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_the_same_runs_give_the_same_bytes(tmp_path: Path):
    small = results_of(tmp_path, problems=6, samples=2, steps=6, skills={"ReFT": 0.6})
    for name in ("first", "second"):
        write_report(tmp_path / f"{name}.html", small)
    assert (tmp_path / "first.html").read_bytes() == (tmp_path / "second.html").read_bytes()


def test_a_greedy_evaluation_alone_is_a_report(tmp_path: Path):
    """No samples, no runs, no baseline: the table and the greedy completions."""
    bare = results_of(tmp_path / "bare", problems=3, samples=2, steps=2, skills={"SFT": 0.5})
    (only,) = bare.methods
    (only.evaluation / "ballots.parquet").unlink()
    greedy = {"top-1": only.figures["top-1"]}
    only = replace(only, role="start", runs=(), figures=greedy, gains={}, differences={})
    path = tmp_path / "report.html"
    write_report(path, replace(bare, methods=(only,), stage_seconds={}))
    found = Page(path)
    assert (found.tags.count("img"), found.tags.count("article")) == (0, 3)
    assert "Paired differences" not in found.text


def test_a_damaged_file_is_named_and_leaves_no_page(tmp_path: Path):
    small = results_of(tmp_path, problems=3, samples=2, steps=2, skills={"SFT": 0.5})
    (small.methods[0].evaluation / "completions.jsonl").write_text("oops\n")
    with pytest.raises(DataError, match=r"completions\.jsonl, line 1: wanted one JSON object"):
        write_report(tmp_path / "report.html", small)
    assert not (tmp_path / "report.html").exists()
