"""All figures of a pipeline (`results.json`), and the first few (`summary.json`).

Owns both files; shares in 0..1, except `points_over_*`, which are percentage points.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from reft_megatron import __version__
from reft_megatron.commands.reproduce.names import largest, samples_of
from reft_megatron.commands.reproduce.results import Method, Results
from reft_megatron.commands.reproduce.spread import median, spread
from reft_megatron.files import write_whole
from reft_megatron.rewards.statistics import Estimate

__all__ = ["write_results"]

_MAPPINGS = ("figures", "differences", "gains")


def write_results(results: Results) -> None:
    """Write both files into the results' folder."""
    results.folder.mkdir(parents=True, exist_ok=True)
    for name, tree in (("results.json", _whole(results)), ("summary.json", _summary(results))):
        write_whole(results.folder / name, json.dumps(tree, indent=1) + "\n")


def _whole(results: Results) -> dict[str, Any]:
    return {
        "name": results.name,
        "title": results.title,
        "version": __version__,
        "split": results.split,
        "num_problems": results.num_problems,
        "seeds": list(results.seeds),
        "methods": [_method(method) for method in results.methods],
        "over_seeds": {same[0].name: _over_seeds(same) for same in results.by_name()},
        "stage_seconds": dict(results.stage_seconds),
    }


def _method(method: Method) -> dict[str, Any]:
    tree = asdict(method)
    tree["runs"] = [str(run) for run in method.runs]
    for key in ("evaluation", "ledger", "reranker"):
        tree[key] = None if tree[key] is None else str(tree[key])
    return tree


def _over_seeds(same: Sequence[Method]) -> dict[str, dict[str, Any]]:
    """Median and range of everything that a method has, with any number of seeds."""
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
    votes = filter(None, (largest(method.figures, "vote") for method in first))
    tree["num_votes"] = max(map(samples_of, votes), default=0)
    keys = _keys(first)
    for same in results.by_name():
        method, key = same[0], keys[same[0].name]
        ways = {"top1": "top-1", "vote": largest(method.figures, "vote")}
        ways |= {way: largest(method.figures, way) for way in ("rerank", "weighted")}
        for way, figure in ways.items():
            if figure is None:
                continue
            tree[f"{key}_{way}"] = median(same, figure)
            if len(same) == 1:
                estimate = method.figures[figure]
                bounds = [round(estimate.low, 4), round(estimate.high, 4)]
                tree[f"{key}_{way}_interval"] = bounds
    ours = results.first("ours")
    for other in first:
        if ours and other.role in ("start", "baseline", "rival"):
            key = keys[other.name]
            gain = tree[f"{keys[ours[0].name]}_top1"] - tree[f"{key}_top1"]
            tree[f"points_over_{key}"] = round(100 * gain, 1)
    seconds = {name: round(time, 1) for name, time in results.stage_seconds.items()}
    return tree | {"seconds": round(sum(seconds.values()), 1), "stage_seconds": seconds}


def _keys(methods: Sequence[Method]) -> dict[str, str]:
    """What methods are called in keys: by their training stage, if it is theirs alone.

    By their evaluation otherwise, as where one policy is tested twice.
    """
    trained = Counter(method.runs[-1] for method in methods if method.runs)
    return {
        method.name: (
            method.runs[-1] if method.runs and trained[method.runs[-1]] == 1 else method.evaluation
        ).name.replace("-", "_")
        for method in methods
    }
