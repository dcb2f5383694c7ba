"""The pictures of the page, each with how to read it and in words.

Owns which pictures there are, their captions, and the text for those who do not see them. How they
are drawn: `drawing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from reft_megatron.commands.reproduce.names import (
    KINDS,
    columns,
    curve,
    points,
    share,
)
from reft_megatron.commands.reproduce.report.calibration import Calibration, calibrate
from reft_megatron.commands.reproduce.report.drawing import (
    Line,
    draw_at_k,
    draw_differences,
    draw_lines,
    draw_path,
    draw_reliability,
)
from reft_megatron.commands.reproduce.report.samples import read_samples
from reft_megatron.commands.reproduce.report.training import Learning, learning_curves
from reft_megatron.commands.reproduce.results import Method, Results
from reft_megatron.config.settings_file import recipe_in
from reft_megatron.log.curves import draw_picture, smooth
from reft_megatron.log.page import Image
from reft_megatron.log.pictures import PICTURES
from reft_megatron.log.records import Series, read_series
from reft_megatron.rewards.statistics import Estimate
from reft_megatron.types import Reason

__all__ = ["at_k", "calibration", "learning", "paired", "reward_against_kl", "verdicts"]

_VERDICTS = next(picture for picture in PICTURES if picture.key == "verdicts")


def at_k(results: Results, seed: int) -> list[Image]:
    """Accuracy against the number of samples, a picture for each method that sampled."""
    found = []
    for method in results.of(seed):
        curves = {kind: curve(method.figures, kind) for kind in KINDS if kind != "top-1"}
        curves = {kind: ks for kind, ks in curves.items() if ks}
        if curves:
            found.append((method, curves))
    limits = _limits([method.figures for method, _ in found])
    return [
        Image(
            key=_key("at-k", method, results),
            title=_titled(method, results),
            caption="",
            alt=f"{method.name}, accuracy against k: {_told_curves(curves)}.",
            png=draw_at_k(curves, greedy=method.figures.get("top-1"), limits=limits),
        )
        for method, curves in found
    ]


def learning(results: Results) -> list[Image]:
    """Dev accuracy of all methods and seeds, against passes and against seconds."""
    curves = learning_curves(results.methods)
    places = _places(results)
    axes = (
        (
            "passes",
            "Against passes over the training problems",
            "passes over the training problems",
        ),
        ("seconds", "Against time", "seconds of training"),
    )
    images = []
    for key, title, x_label in axes:
        lines = [
            Line(name=c.name, place=places[c.name], x=x, y=c.accuracy)
            for c in curves
            if (x := getattr(c, key))
        ]
        if lines:
            images.append(
                Image(
                    key=f"learning-{key}",
                    title=title,
                    caption=_passes_told(results, curves, lines) if key == "passes" else "",
                    alt=f"{title}: {_told_learning(curves)}.",
                    png=draw_lines(lines, x_label=x_label),
                )
            )
    return images


def _passes_told(results: Results, curves: Sequence[Learning], lines: Sequence[Line]) -> str:
    """Whose passes are not counted, and whose are longer than the others'."""
    without = sorted({c.name for c in curves} - {line.name for line in lines})
    told = [f"Not counted by {', '.join(without)}."] if without else []
    longer = dict.fromkeys(
        method.name
        for method in results.methods
        if any(recipe_in(run) == "offline_sl" for run in method.runs)
    )
    if longer:
        told.append(
            f"A pass of {', '.join(longer)} is one over gold chains and samples alike, several "
            "texts of a problem."
        )
    return " ".join(told)


def verdicts(results: Results, seed: int) -> list[Image]:
    """Verdict shares over time of every method that samples while it learns."""
    images = []
    for method in results.of(seed):
        series = _own_series(method)
        png = draw_picture(_VERDICTS, series)
        if png is not None:
            images.append(
                Image(
                    key=_key("verdicts", method, results),
                    title=_titled(method, results),
                    caption="",
                    alt=f"{method.name}, share of each verdict: {_told_verdicts(series)}.",
                    png=png,
                )
            )
    return images


def reward_against_kl(results: Results) -> list[Image]:
    """Where the runs with a reference policy went, all methods and seeds."""
    places = _places(results)
    lines = []
    for method in results.methods:
        series = _own_series(method)
        both = [dict(zip(*series.get(name, ([], [])), strict=True)) for name in _KL]
        steps = sorted(both[0].keys() & both[1].keys())
        if steps:
            xs, ys = (smooth(np.array([curve[step] for step in steps])).tolist() for curve in both)
            lines.append(Line(name=method.name, place=places[method.name], x=xs, y=ys))
    if not lines:
        return []
    told = "; ".join(
        f"{line.name} from reward {line.y[0]:.2f} at {line.x[0]:.2f} nats to {line.y[-1]:.2f} at "
        f"{line.x[-1]:.2f}"
        for line in lines
    )
    return [
        Image(
            key="reward-kl",
            title="Reward against KL",
            caption="",
            alt=f"Mean reward against the KL divergence per response: {told}.",
            png=draw_path(
                lines, x_label="KL from the reference, nats per response", y_label="mean reward"
            ),
        )
    ]


_KL = ("kl/sequence", "reward/mean")


def calibration(results: Results, seed: int) -> list[Image]:
    """Whether the probabilities of each method's reranker can be believed."""
    images = []
    for method in results.of(seed):
        found = _calibrated(method)
        if found is not None:
            auc = "" if method.auc is None else f"; area under the ROC curve {method.auc:.3f}"
            told = (
                f"Expected calibration error {found.error:.3f}{auc}; {found.count:,} scored "
                f"completions, {share(found.right)} of them right"
            )
            images.append(
                Image(
                    key=_key("calibration", method, results),
                    title=_titled(method, results),
                    caption=f"{told}.",
                    alt=f"{method.name}, reliability: {_told_bins(found)}.",
                    png=draw_reliability(found),
                )
            )
    return images


def paired(results: Results) -> list[Image]:
    """Each method minus the baseline, and what choosing among samples adds; a line a seed."""
    shown = [*columns(results.methods)]
    gains = list(dict.fromkeys(name for method in results.methods for name in method.gains))
    wanted = [(f"{name}, over {results.baseline}", name, "differences") for name in shown]
    wanted += [(name, name, "gains") for name in gains]
    images = []
    for number, (title, name, part) in enumerate(wanted):
        rows = _differences(results, name, part=part)
        if rows:
            told = "; ".join(
                f"{label} {points(e.value)} ({points(e.low)} to {points(e.high)})"
                for label, e in rows
            )
            images.append(
                Image(
                    key=f"paired-{number}",
                    title=title.replace(" - ", " minus "),
                    caption="",
                    alt=f"Differences in points, {title}: {told}.",
                    png=draw_differences(rows),
                )
            )
    return images


def _differences(results: Results, name: str, *, part: str) -> list[tuple[str, Estimate]]:
    """(method, difference), and with several seeds those of one method under each other."""
    methods = [method for same in results.by_name() for method in same]
    return [
        (_titled(method, results), getattr(method, part)[name])
        for method in methods
        if name in getattr(method, part)
    ]


def _calibrated(method: Method) -> Calibration | None:
    """None if no completion that could be judged was scored."""
    scored = [
        (sample.score, sample.right, number)
        for number, samples in enumerate(read_samples(method.evaluation).values())
        for sample in samples
        if sample.score is not None and sample.reason is not Reason.EXECUTOR_FAULT
    ]
    if not scored:
        return None
    margins, right, problems = zip(*scored, strict=True)
    return calibrate(
        np.array(margins, np.float32), np.array(right, np.bool_), np.array(problems, np.int64)
    )


def _own_series(method: Method) -> Series:
    return read_series(method.runs[-1]) if method.runs else {}


def _places(results: Results) -> dict[str, int]:
    return {same[0].name: place for place, same in enumerate(results.by_name())}


def _key(what: str, method: Method, results: Results) -> str:
    """An anchor; by the method's place, for its name may hold anything."""
    return f"{what}-{results.methods.index(method)}"


def _titled(method: Method, results: Results) -> str:
    several = len(results.seeds) > 1
    return f"{method.name}, seed {method.seed}" if several else method.name


def _limits(figures: Sequence[Mapping[str, Estimate]]) -> tuple[float, float]:
    """One axis for all: the lowest and the highest bound of any, and a little room."""
    bounds = [b for own in figures for e in own.values() for b in (e.low, e.high)]
    low, high = (min(bounds), max(bounds)) if bounds else (0.0, 1.0)
    room = 0.04 * (high - low or 1.0)
    return max(low - room, -0.02), min(high + room, 1.02)


def _told_curves(curves: Mapping[str, Mapping[int, Estimate]]) -> str:
    """First and last point of every curve."""
    ends = {kind: [*ks.items()] for kind, ks in curves.items()}
    return "; ".join(
        f"{kind} {share(found[0][1].value)} at {found[0][0]} to {share(found[-1][1].value)} at "
        f"{found[-1][0]}"
        for kind, found in ends.items()
    )


def _told_learning(curves: Sequence[Learning]) -> str:
    return "; ".join(
        f"{c.name} (seed {c.seed}) from {share(c.accuracy[0])} to {share(c.accuracy[-1])}, best "
        f"{share(max(c.accuracy))}"
        for c in curves
    )


def _told_verdicts(series: Series) -> str:
    """First and last share of every verdict that occurs."""
    seen = [
        (str(reason).replace("_", " "), series[f"verdict/{reason}"][1])
        for reason in Reason
        if any(series.get(f"verdict/{reason}", ([], []))[1])
    ]
    return "; ".join(f"{name} {share(v[0])} to {share(v[-1])}" for name, v in seen)


def _told_bins(found: Calibration) -> str:
    return "; ".join(
        f"said {share(b.confidence)}, right {share(b.accuracy)} ({b.count:,})" for b in found.bins
    )
