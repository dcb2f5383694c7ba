"""All figures of a pipeline (`results.json`), and the first few (`summary.json`).

Owns both files; shares in 0..1, except `points_over_*`, which are percentage points.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reft_megatron import __version__
from reft_megatron.commands.reproduce.figures import largest
from reft_megatron.commands.reproduce.results import Method, Results
from reft_megatron.files import write_whole
from reft_megatron.rewards.statistics import Estimate

__all__ = ["Spread", "spread", "write_results"]

_MAPPINGS = ("figures", "differences", "gains")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A figure over seeds."""

    median: float
    """The median."""
    low: float
    """The least."""
    high: float
    """The greatest."""


def spread(values: Iterable[float]) -> Spread:
    """The spread of one value or more."""
    seen = list(values)
    return Spread(median=statistics.median(seen), low=min(seen), high=max(seen))


def write_results(results: Results) -> None:
    """Write both files into the results' folder."""
    results.folder.mkdir(parents=True, exist_ok=True)
    for name, tree in (("results.json", _whole(results)), ("summary.json", _summary(results))):
        write_whole(results.folder / name, json.dumps(tree, indent=1) + "\n")


def _whole(results: Results) -> dict[str, Any]:
    names = dict.fromkeys(method.name for method in results.methods)
    return {
        "name": results.name,
        "title": results.title,
        "version": __version__,
        "split": results.split,
        "num_problems": results.num_problems,
        "seeds": list(results.seeds),
        "methods": [_method(method) for method in results.methods],
        "over_seeds": {name: _over_seeds(results, name) for name in names},
        "stage_seconds": dict(results.stage_seconds),
    }


def _method(method: Method) -> dict[str, Any]:
    tree = asdict(method)
    tree["runs"] = [str(run) for run in method.runs]
    for key in ("evaluation", "ledger", "reranker"):
        tree[key] = None if tree[key] is None else str(tree[key])
    return tree


def _over_seeds(results: Results, name: str) -> dict[str, dict[str, Any]]:
    """Median and range of everything that a method has, with any number of seeds."""
    same = [method for method in results.methods if method.name == name]
    found: dict[str, dict[str, Any]] = {}
    for part in _MAPPINGS:
        mappings: list[Mapping[str, Estimate]] = [getattr(method, part) for method in same]
        found[part] = {
            figure: asdict(spread(mapping[figure].value for mapping in mappings))
            for figure in mappings[0]
        }
    return found


def _summary(results: Results) -> dict[str, Any]:
    """Medians over seeds under the names of the training stages: `sft_top1`, `sft_vote`."""
    tree: dict[str, Any] = {
        "seeds": list(results.seeds),
        "num_test": results.num_problems,
        "split": results.split,
    }
    first = results.of(results.seeds[0])
    votes = [largest(method.figures, "vote") for method in first]
    tree["num_votes"] = max((int(vote.partition("@")[2]) for vote in votes if vote), default=0)
    for method in first:
        same = [other for other in results.methods if other.name == method.name]
        ways = {"top1": "top-1", "vote": largest(method.figures, "vote")}
        ways |= {way: largest(method.figures, way) for way in ("rerank", "weighted")}
        for way, figure in ways.items():
            if figure is None:
                continue
            tree[f"{_key(method)}_{way}"] = spread(m.figures[figure].value for m in same).median
            if len(same) == 1:
                estimate = method.figures[figure]
                bounds = [round(estimate.low, 4), round(estimate.high, 4)]
                tree[f"{_key(method)}_{way}_interval"] = bounds
    ours = next((method for method in first if method.role == "ours"), None)
    for other in first if ours else ():
        if other.role in ("start", "baseline", "rival"):
            key = f"{_key(other)}_top1"
            gain = tree[f"{_key(ours)}_top1"] - tree[key]
            tree[f"points_over_{_key(other)}"] = round(100 * gain, 1)
    seconds = {name: round(time, 1) for name, time in results.stage_seconds.items()}
    return tree | {"seconds": round(sum(seconds.values()), 1), "stage_seconds": seconds}


def _key(method: Method | None) -> str:
    """What a method is called in a key: its training stage, or its evaluation without one."""
    assert method is not None
    folder: Path = method.runs[-1] if method.runs else method.evaluation
    return folder.name.replace("-", "_")
