"""Tests of the report of one run."""

from __future__ import annotations

import base64
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reft_megatron.config import load_config, to_yaml
from reft_megatron.errors import DataError
from reft_megatron.log import GLOSSARY, RunLog
from reft_megatron.log.page import Table
from reft_megatron.log.pictures import PICTURES
from reft_megatron.log.report import write_run_report

NASTY = "<img src=x onerror=alert(1)> & \"quotes\" </pre>"  # fmt: skip
CONFIG = load_config(None, ["log.tensorboard=false", "run.name=a<b", "ppo.kl_coef=0.03"])


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append(" ".join(data.split()))


def completion(number: int, verdict: str) -> dict[str, object]:
    """A verdict and its worth, none where nobody judged."""
    reward = None if verdict == "timeout" else 1.0
    text = {"problem": f"q{number} {NASTY}", "completion": NASTY}
    return {**text, "verdict": verdict, "reward": reward}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that logged every metric at four steps and kept its completions."""
    folder = tmp_path_factory.mktemp("run")
    with RunLog(folder, CONFIG, main=True) as log:
        for step in range(1, 5):
            metrics = dict.fromkeys(GLOSSARY, step / 10) | {"time/iteration": 60.0}
            log.record(step, metrics)
    verdicts = ["correct"] * 20 + ["timeout"]
    lines = [json.dumps(completion(n, verdict)) + "\n" for n, verdict in enumerate(verdicts)]
    (folder / "completions.jsonl").write_text("".join(lines))
    table = Table(title="Evaluation", header=("split", "top-1"), rows=[("test", "56.1%")])
    assert write_run_report(folder, to_yaml(CONFIG), [table]) == folder / "report.html"
    return folder


def test_every_curve_is_in_the_page_and_in_the_folder(folder: Path):
    page = Page(folder / "report.html")
    sources = [value for name, value in page.attributes if name == "src"]
    files = [folder / "curves" / f"{picture.key}.png" for picture in PICTURES]
    assert sorted((folder / "curves").iterdir()) == sorted(files)
    assert sources == [
        "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode() for file in files
    ]
    for picture in PICTURES:
        assert picture.caption in page.text


def test_nothing_is_fetched_and_nothing_runs(folder: Path):
    page = Page(folder / "report.html")
    assert not {"script", "link", "iframe", "object", "a"} & set(page.tags)
    assert {name for name, _ in page.attributes if name.startswith("on")} == set()
    text = (folder / "report.html").read_text()
    assert all(bad not in text for bad in ("http:", "https:", "//cdn", "@import", "url("))


def test_what_the_model_wrote_is_shown_as_text(folder: Path):
    page = Page(folder / "report.html")
    assert page.tags.count("img") == len(PICTURES)
    assert page.text.count(NASTY) == 12
    assert f"q20 {NASTY}" in page.text, "the one timeout is among the twelve shown"
    assert page.text.count("1.0") == 11
    assert "None" not in page.text, "what was not judged has no reward"
    assert "12 of 21, taken in turn from every verdict, so that rare failures show as much as" in (
        " ".join(page.text)
    )


def test_the_summary_tells_what_was_run_and_how_it_ended(folder: Path):
    text = Page(folder / "report.html").text
    lead = "galactica-tiny on arithmetic (program form), seed 0: 4 steps in 4.0 min."
    assert text[text.index(lead) - 1] == "a<b"
    tile = text.index("Dev accuracy")
    assert text[tile : tile + 3] == [
        "Dev accuracy",
        "40.0%",
        "from 10.0%, best 40.0% at step 4",
    ]
    setting = text.index("ppo.kl_coef")
    assert text[setting + 1] == "0.03"
    assert text[text.index("Evaluation") : text.index("Evaluation") + 5] == [
        "Evaluation", "split", "top-1", "test", "56.1%",
    ]  # fmt: skip
    outside = text.index("outside the phases")
    assert text[outside : outside + 3] == ["outside the phases", "3.9 min", "97.5%"]


def test_a_run_that_logged_nothing_still_has_a_report(tmp_path: Path):
    text = Page(write_run_report(tmp_path, to_yaml(CONFIG))).text
    assert "No metrics were recorded." in text
    assert list((tmp_path / "curves").iterdir()) == []


def test_a_damaged_file_is_named(tmp_path: Path):
    (tmp_path / "metrics.jsonl").write_text("oops\n")
    with pytest.raises(DataError) as error:
        write_run_report(tmp_path, to_yaml(CONFIG))
    assert str(error.value) == (
        f"{tmp_path / 'metrics.jsonl'}, line 1: wanted one JSON object per line, saw 'oops'. "
        "Repair or remove the file."
    )
