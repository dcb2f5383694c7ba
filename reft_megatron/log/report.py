"""The report of one run: `report.html` and the PNG curves in `curves/`.

Owns the choice of what a person sees first. It reads the run's folder (`metrics.jsonl`,
`timing.jsonl`, and `completions.jsonl` if there is one) and nothing else, so that it can be written
again at any time.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from reft_megatron.config import DEFAULT_PRESET, Config, to_yaml
from reft_megatron.durations import duration_text
from reft_megatron.log.metrics import value_text
from reft_megatron.log.page import Table, images, write_page
from reft_megatron.log.pictures import PICTURES
from reft_megatron.log.records import Series, read_records, read_series

__all__ = ["write_run_report"]

_TILES = {
    "eval/test_accuracy": "Test accuracy",
    "eval/vote_accuracy": "Vote accuracy",
    "eval/rerank_accuracy": "Rerank accuracy",
    "eval/dev_accuracy": "Dev accuracy",
    "reward/accuracy": "Sampled answers right",
    "reward/mean": "Reward",
    "kl/sequence": "KL per response",
    "value/explained_variance": "Explained variance",
    "response/length": "Response length",
    "train/loss": "Training loss",
}
_NUM_COMPLETIONS = 12


def write_run_report(folder: Path, config_yaml: str, extra_tables: Sequence[Table] = ()) -> Path:
    """Write `report.html` and `curves/*.png` into the run's folder; returns the page's path.

    config_yaml: the resolved config, as `config.to_yaml` gives it.
    extra_tables: further tables to show before the curves, an evaluation's for instance.
    Raises DataError for a damaged file in the folder.
    """
    series = read_series(folder)
    drawn = images(PICTURES, series)
    (folder / "curves").mkdir(exist_ok=True)
    for image in drawn:
        (folder / "curves" / f"{image.key}.png").write_bytes(image.png)
    completions = read_records(folder / "completions.jsonl")
    config = yaml.safe_load(config_yaml)
    path = folder / "report.html"
    values = {
        "title": config["run"]["name"],
        "lead": _lead(config, series),
        "tiles": _tiles(series),
        "tables": [*extra_tables, *_phase_table(series)],
        "images": drawn,
        "completions": _one_of_each(completions),
        "num_completions": len(completions),
        "changed": _changed(config),
        "config_yaml": config_yaml,
    }
    write_page(path, "run.html", values)
    return path


def _lead(config: dict[str, Any], series: Series) -> str:
    last = max((steps[-1] for steps, _ in series.values()), default=0)
    seconds = sum(series.get("time/iteration", ([], []))[1])
    return (
        f"{_model(config['model'])} on {config['task']['name']} ({config['task']['form']} form), "
        f"seed {config['run']['seed']}: {last:,} steps in {duration_text(seconds)}."
    )


def _model(settings: dict[str, Any]) -> str:
    """The model by its preset, or the folder that it comes from."""
    named = settings["preset"] or settings["hf"] or settings["load"] or DEFAULT_PRESET
    return Path(named).name


def _tiles(series: Series) -> list[dict[str, str]]:
    """The last value of each headline metric and the first: means over a tenth of the points."""
    tiles = []
    for name, label in _TILES.items():
        if name not in series:
            continue
        steps, values = series[name]
        few = 1 if name.startswith("eval/") else max(1, len(values) // 10)
        first, last = statistics.fmean(values[:few]), statistics.fmean(values[-few:])
        note = f"from {value_text(name, first)}" if len(values) > 1 else ""
        if name == "eval/dev_accuracy":
            best = max(values)
            note += f", best {value_text(name, best)} at step {steps[values.index(best)]}"
        tiles.append({"label": label, "value": value_text(name, last), "note": note})
    return tiles


def _phase_table(series: Series) -> list[Table]:
    """Seconds of each phase over the whole run; none if nothing was timed."""
    sums = {
        name.removeprefix("time/"): sum(values)
        for name, (_, values) in series.items()
        if name.startswith("time/")
    }
    whole = sums.pop("iteration", 0.0)
    if not whole:
        return []
    sums["outside the phases"] = whole - sum(sums.values())
    rows = [(name, duration_text(s), f"{s / whole:.1%}") for name, s in sums.items()]
    return [Table(title="Where the time went", header=("phase", "time", "share"), rows=rows)]


def _one_of_each(completions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A dozen completions, taken in turn from every verdict, so that failures show too."""
    by_verdict: dict[str, list[dict[str, Any]]] = {}
    for completion in completions:
        by_verdict.setdefault(completion["verdict"], []).append(completion)
    rounds = itertools.zip_longest(*by_verdict.values())
    chosen = [c for c in itertools.chain.from_iterable(rounds) if c is not None]
    return chosen[:_NUM_COMPLETIONS]


def _changed(config: dict[str, Any]) -> list[tuple[str, str]]:
    """(dotted key, value) of every setting that is not at its default."""
    default = yaml.safe_load(to_yaml(Config()))
    return [
        (f"{section}.{key}", str(value))
        for section, block in config.items()
        for key, value in block.items()
        if default[section][key] != value
    ]
