"""Tests of the story page."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reft_megatron.config import load_config
from reft_megatron.log import RunLog
from reft_megatron.log.story import Sample, Stage, side_by_side, wilson, write_story_report

STAGES = [
    Stage(name="warm-up", meaning="Two <epochs>.", num_test=1000, top1=0.321, vote=0.371),
    Stage(name="SFT", meaning="All epochs.", num_test=1000, top1=0.435),
    Stage(name="ReFT", meaning="PPO.", num_test=1000, top1=0.561, vote=0.583),
]


class Page(HTMLParser):
    """Tags and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append(" ".join(data.split()))


def run(folder: Path, metrics: list[str]) -> Path:
    config = load_config(None, ["log.tensorboard=false"])
    with RunLog(folder, config, main=True) as log:
        for step in range(1, 4):
            log.record(step, dict.fromkeys(metrics, step / 10))
    return folder


def completions(path: Path, verdicts: str) -> Path:
    names = {"+": "correct", "-": "wrong_value"}
    records = [
        {"problem": f"q{n}", "answer": n, "completion": f"{path.stem}{n}", "verdict": names[v]}
        for n, v in enumerate(verdicts)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_the_page_tells_the_whole_story(tmp_path: Path):
    runs = {
        "SFT": run(tmp_path / "sft", ["eval/dev_accuracy", "train/loss"]),
        "ReFT": run(tmp_path / "ppo", ["eval/dev_accuracy", "reward/mean", "kl/sequence"]),
    }
    sample = Sample(
        question="How <many>?",
        answer="3",
        before="return 2",
        before_verdict="wrong_value",
        after="return 3",
        after_verdict="correct",
    )
    path = tmp_path / "story.html"
    write_story_report(
        path,
        title="A & B",
        stages=STAGES,
        runs=runs,
        summary={"reft_top1": 0.561, "seed": 0},
        samples=[sample],
    )
    page = Page(path)
    text = " ".join(page.text)
    assert "right at the first try. For comparison: warm-up 32.1%, SFT 43.5%." in text
    assert "warm-up 32.1% 29.3 to 35.1 37.1% 34.2 to 40.1 1,000" in text
    assert "SFT 43.5% 40.5 to 46.6 1,000" in text
    assert "ReFT 56.1% 53.0 to 59.1 58.3% 55.2 to 61.3 1,000" in text
    assert "Two <epochs>." in text
    assert "How <many>? Answer: 3 warm-up wrong value return 2 ReFT correct return 3" in text
    assert "reft_top1 0.561 seed 0" in text
    assert page.tags.count("img") == 4, "bars, learning curves, reward, KL"
    assert not {"script", "link", "iframe", "a"} & set(page.tags)
    assert not any(scheme in path.read_text() for scheme in ("http:", "https:"))


def test_a_story_without_runs_votes_and_samples_is_the_table(tmp_path: Path):
    path = tmp_path / "story.html"
    write_story_report(path, title="Short", stages=[STAGES[1]], runs={}, summary={})
    page = Page(path)
    assert page.tags.count("img") == 1
    assert "vote" not in " ".join(page.text).lower()
    assert [text for text in page.text if text in ("How it learned", "Figures")] == []


def test_samples_are_of_every_kind_in_order(tmp_path: Path):
    before = completions(tmp_path / "before.jsonl", "+----++-+")
    after = completions(tmp_path / "after.jsonl", "++++++---")
    samples = side_by_side(before, after)
    assert [(s.question, s.before_verdict, s.after_verdict) for s in samples] == [
        ("q1", "wrong_value", "correct"),
        ("q2", "wrong_value", "correct"),
        ("q3", "wrong_value", "correct"),
        ("q6", "correct", "wrong_value"),
        ("q7", "wrong_value", "wrong_value"),
        ("q0", "correct", "correct"),
    ]
    assert samples[0] == Sample(
        question="q1",
        answer="1",
        before="before1",
        before_verdict="wrong_value",
        after="after1",
        after_verdict="correct",
    )


def test_problems_that_only_one_side_answered_are_left_out(tmp_path: Path):
    before = completions(tmp_path / "before.jsonl", "-")
    after = completions(tmp_path / "after.jsonl", "++")
    assert [sample.question for sample in side_by_side(before, after)] == ["q0"]


@pytest.mark.parametrize(
    ("share", "count", "interval"),
    [
        # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
        (81 / 263, 263, (0.2553, 0.3662)),
        (15 / 148, 148, (0.0624, 0.1605)),
        (0.0, 20, (0.0, 0.1611)),
        (1 / 29, 29, (0.0061, 0.1718)),
    ],
)
def test_intervals_are_those_of_the_literature(
    share: float, count: int, interval: tuple[float, float]
):
    assert wilson(share, count) == pytest.approx(interval, abs=5e-5)


def test_an_unmeasured_vote_has_no_interval():
    assert all(math.isnan(bound) for bound in STAGES[1].vote_interval)
