"""The story page: from a base model over warm-up and SFT to ReFT.

Owns the page that a person who has never seen the project reads after the quickstart. The numbers
come from the caller, who evaluated every stage on the same problems; the curves from the runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reft_megatron.log.curves import draw_bars, draw_overlay
from reft_megatron.log.page import Image, images, write_page
from reft_megatron.log.pictures import PICTURES
from reft_megatron.log.records import Series, read_records, read_series

__all__ = ["Sample", "Stage", "side_by_side", "wilson", "write_story_report"]

_INSIDE = ("reward", "verdicts", "kl", "value")
_WANTED = {(False, True): 3, (True, False): 1, (False, False): 1, (True, True): 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One model of the story and how well it answers the test problems."""

    name: str
    """Its short name: base, warm-up, SFT, ReFT."""
    meaning: str
    """One sentence for a newcomer: how it was made."""
    num_test: int
    """Test problems it answered; the same ones at every stage."""
    top1: float
    """Share answered right at the first try, greedy."""
    vote: float | None = None
    """Share answered right by majority vote; None if not measured."""
    num_votes: int = 16
    """Samples per problem of the vote."""

    @property
    def top1_interval(self) -> tuple[float, float]:
        """95% interval of `top1`."""
        return wilson(self.top1, self.num_test)

    @property
    def vote_interval(self) -> tuple[float, float]:
        """95% interval of `vote`; NaN if not measured."""
        return wilson(math.nan if self.vote is None else self.vote, self.num_test)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One test problem with the answers of two stages."""

    question: str
    """The problem."""
    answer: str
    """Its gold answer; empty if not known."""
    before: str
    """Completion of the earlier stage."""
    before_verdict: str
    """What the checker said of it."""
    after: str
    """Completion of the later stage."""
    after_verdict: str
    """What the checker said of it."""


def wilson(share: float, count: int) -> tuple[float, float]:
    """95% interval of a share seen in `count` trials (Wilson 1927, score interval)."""
    z = 1.959964
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    half = spread / (1 + z * z / count)
    return centre - half, centre + half


def side_by_side(before: Path, after: Path) -> list[Sample]:
    """Up to six problems that both `completions.jsonl` files answer, of every kind.

    Three that only `after` gets right, one that only `before` does, one that neither and one that
    both do, the first of each kind in file order. A record holds `problem`, `completion`,
    `verdict`, and optionally `answer`. Raises DataError for a damaged file.
    """
    earlier = {record["problem"]: record for record in reversed(read_records(before))}
    wanted = dict(_WANTED)
    chosen: dict[tuple[bool, bool], list[Sample]] = {kind: [] for kind in wanted}
    for record in read_records(after):
        old = earlier.pop(record["problem"], None)
        if old is None:
            continue
        kind = (old["verdict"] == "correct", record["verdict"] == "correct")
        if len(chosen[kind]) < wanted[kind]:
            chosen[kind].append(_sample(old, record))
    return [sample for samples in chosen.values() for sample in samples]


def write_story_report(
    path: Path,
    *,
    title: str,
    stages: Sequence[Stage],
    runs: Mapping[str, Path],
    summary: Mapping[str, object],
    samples: Sequence[Sample] = (),
    sample_names: tuple[str, str] = ("warm-up", "ReFT"),
) -> None:
    """Write the story as one HTML file.

    stages: in the order of the story, at least one; the last one is its hero.
    runs: label to run folder, the supervised and the PPO run; their dev accuracies share one
        picture, and rewards, verdicts and KL are those of the last run that has them.
    summary: further figures, shown in a table as they are.
    sample_names: the stages whose answers `samples` compares, see `side_by_side`.
    Raises DataError for a damaged file in a run's folder.
    """
    series = {label: read_series(folder) for label, folder in runs.items()}
    inside = [run for run in series.values() if "reward/mean" in run]
    pictures = [picture for picture in PICTURES if picture.key in _INSIDE]
    values = {
        "title": title,
        "hero": stages[-1],
        "stages": stages,
        "bars": _bars(stages),
        "learning": _learning(series),
        "inside": images(pictures, inside[-1]) if inside else [],
        "samples": samples,
        "sample_names": sample_names,
        "summary": summary,
    }
    write_page(path, "story.html", values)


def _sample(old: Mapping[str, Any], new: Mapping[str, Any]) -> Sample:
    return Sample(
        question=new["problem"],
        answer=str(new.get("answer", "")),
        before=old["completion"],
        before_verdict=old["verdict"],
        after=new["completion"],
        after_verdict=new["verdict"],
    )


def _bars(stages: Sequence[Stage]) -> Image:
    groups = {"top-1 (greedy)": [(stage.top1, *stage.top1_interval) for stage in stages]}
    if any(stage.vote is not None for stage in stages):
        groups[f"vote@{stages[-1].num_votes}"] = [
            (math.nan if stage.vote is None else stage.vote, *stage.vote_interval)
            for stage in stages
        ]
    return Image(
        key="accuracy",
        title="Test problems answered right",
        caption="Whiskers are 95% intervals for the number of test problems. Every stage answers "
        "the same problems, so that a difference between two stages is surer than the whiskers "
        "alone suggest.",
        png=draw_bars([stage.name for stage in stages], groups),
    )


def _learning(series: Mapping[str, Series]) -> list[Image]:
    png = draw_overlay("eval/dev_accuracy", series)
    if png is None:
        return []
    caption = (
        "Greedy accuracy on dev problems, kept aside to choose the best checkpoint (the large "
        "dot), against how much of each run is done; the runs count their steps in different "
        "things."
    )
    return [Image(key="learning", title="Learning curves", caption=caption, png=png)]
