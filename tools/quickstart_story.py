"""The quickstart's last page: its runs in one table, one summary, one report.

Owns what the quickstart tells at its end. `examples/quickstart.sh` made the runs,
`reft_megatron.log.story` draws the page.

Try it: `python tools/quickstart_story.py runs/quickstart`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from reft_megatron.config import load_config
from reft_megatron.errors import DataError, ReftError
from reft_megatron.log.story import Stage, side_by_side, write_story_report

_MEANINGS = {
    "base": (
        "base",
        "Random weights, then language modelling on generated documents of mixed quality: three "
        "programs in four answer their question, and no question is one of the test.",
    ),
    "warmup": (
        "warm-up",
        "The base after the first epochs of supervised fine-tuning on one worked program per "
        "training problem.",
    ),
    "sft": (
        "SFT",
        "The same supervised fine-tuning to its end, at its best epoch on the dev problems: the "
        "baseline.",
    ),
    "reft": (
        "ReFT",
        "The warm-up after PPO on the same training problems, where only the results of its own "
        "programs teach it; at its best on the dev problems.",
    ),
}
"""Run folder -> (name, meaning) of each stage, in the order of the story."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Tell the story of the folder; returns the exit status: 1, with a message, if a run lacks."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="what examples/quickstart.sh wrote")
    folder: Path = parser.parse_args(arguments).folder
    try:
        stages = {run: _stage(folder, run) for run in _MEANINGS}
        summary = _summary(folder, stages)
        _write_report(folder, list(stages.values()), summary)
    except ReftError as error:
        print(f"quickstart_story: {error}", file=sys.stderr)
        return 1
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    console = Console()
    console.print(_table(list(stages.values())))
    print(f"{folder / 'summary.json'}\n{folder / 'report.html'}: open it in a browser")
    return 0


def _stage(folder: Path, run: str) -> Stage:
    path = folder / f"{run}-test" / "summary.json"
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        raise DataError(
            f"{path} is not there or not whole: run examples/quickstart.sh to its end."
        ) from None
    name, meaning = _MEANINGS[run]
    votes = {"vote": found["vote"], "num_votes": found["samples"]} if "vote" in found else {}
    return Stage(
        name=name, meaning=meaning, num_test=found["num_problems"], top1=found["top1"], **votes
    )


def _summary(folder: Path, stages: dict[str, Stage]) -> dict[str, Any]:
    """Every figure of the story; shares, except the gains, which are in percentage points."""
    sizes = {stage.num_test for stage in stages.values()}
    if len(sizes) > 1:
        raise DataError(
            f"the stages of {folder} answered different numbers of test problems, {sorted(sizes)}: "
            "remove its *-test folders and run examples/quickstart.sh again."
        )
    config = load_config(folder / "reft" / "config.yaml")
    seconds = _seconds(folder / "seconds.tsv")
    summary: dict[str, Any] = {
        "seed": config.run.seed,
        "num_train": config.task.train_size,
        "num_test": sizes.pop(),
        "num_votes": stages["reft"].num_votes,
    }
    for run, stage in stages.items():
        summary |= {
            f"{run}_top1": stage.top1,
            f"{run}_top1_interval": _rounded(stage.top1_interval),
        }
        if stage.vote is not None:
            summary |= {
                f"{run}_vote": stage.vote,
                f"{run}_vote_interval": _rounded(stage.vote_interval),
            }
    for run in ("warmup", "sft"):
        gain = 100 * (stages["reft"].top1 - stages[run].top1)
        summary[f"points_over_{run}"] = round(gain, 1)
    return summary | {"seconds": sum(seconds.values()), "stage_seconds": seconds}


def _rounded(interval: tuple[float, float]) -> list[float]:
    return [round(bound, 4) for bound in interval]


def _seconds(path: Path) -> dict[str, int]:
    """Wall-clock seconds of each stage; a stage that was interrupted has several lines."""
    seconds: Counter[str] = Counter()
    for line in path.read_text().splitlines() if path.is_file() else ():
        name, _, count = line.partition("\t")
        seconds[name] += int(count)
    return dict(seconds)


def _write_report(folder: Path, stages: Sequence[Stage], summary: dict[str, Any]) -> None:
    figures = {
        "training problems": f"{summary['num_train']:,}",
        "seed": summary["seed"],
        "ReFT over warm-up": f"{summary['points_over_warmup']:+.1f} points",
        "ReFT over SFT": f"{summary['points_over_sft']:+.1f} points",
        "wall-clock time": f"{summary['seconds'] / 60:.1f} min",
    }
    write_story_report(
        folder / "report.html",
        title="ReFT on generated word problems",
        stages=stages,
        runs={"SFT": folder / "sft", "ReFT": folder / "reft"},
        summary=figures,
        samples=side_by_side(
            folder / "warmup-test" / "completions.jsonl",
            folder / "reft-test" / "completions.jsonl",
        ),
    )


def _table(stages: Sequence[Stage]) -> Table:
    hero = stages[-1]
    table = Table(title=f"The same {hero.num_test:,} held-out problems", title_justify="left")
    table.add_column("model")
    for column in ("top-1", "95% interval", f"vote@{hero.num_votes}", "95% interval"):
        table.add_column(column, justify="right")
    for stage in stages:
        vote = ("", "") if stage.vote is None else _cells(stage.vote, stage.vote_interval)
        style = "bold" if stage is hero else None
        table.add_row(stage.name, *_cells(stage.top1, stage.top1_interval), *vote, style=style)
    return table


def _cells(share: float, interval: tuple[float, float]) -> tuple[str, str]:
    low, high = interval
    return f"{share:.1%}", f"{low:.1%} to {high:.1%}"


if __name__ == "__main__":
    sys.exit(main())
