"""The page: what is said first, and the sections in their order.

Owns the way from results to the template's values. Pictures and tables that belong to one seed are
made for each; completions are those of the first seed, since there are enough of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reft_megatron.commands.reproduce.names import KINDS, columns, kind_of, points, share
from reft_megatron.commands.reproduce.report import grid, pictures
from reft_megatron.commands.reproduce.report.completions import choose
from reft_megatron.commands.reproduce.results import Results
from reft_megatron.commands.reproduce.spread import median
from reft_megatron.durations import duration_text
from reft_megatron.log.page import Image, write_page

__all__ = ["write_report"]

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seed:
    """What is shown of one seed alone."""

    seed: int
    figures: grid.Grid
    every_k: grid.Grid
    differences: grid.Grid | None
    gains: grid.Grid | None
    at_k: list[Image]
    verdicts: list[Image]
    calibration: list[Image]


def write_report(path: Path, results: Results) -> None:
    """Write the report of `results` to `path`, one HTML file that fetches nothing, all or nothing.

    What a method lacks (samples, a reranker, training runs) its sections lack. Raises DataError for
    a damaged file in a folder of `results`, and ConfigError for an evaluation without its config.
    """
    seeds = [_seed(results, seed) for seed in results.seeds]
    kinds = {kind_of(figure) for figure in columns(results.methods)}
    over_seeds = grid.figures(results, results.seeds)
    values = {
        "title": results.title,
        "lead": _lead(results),
        "tiles": _tiles(results),
        "kinds": {kind: told for kind, told in KINDS.items() if kind in kinds},
        "figures": over_seeds,
        "differences": grid.differences(results, results.seeds),
        "gains": grid.gains(results, results.seeds),
        "seeds": seeds,
        "sources": sorted({c.source for m in results.methods for c in m.paper.values()}),
        "paired": pictures.paired(results),
        "learning": pictures.learning(results),
        "reward_against_kl": pictures.reward_against_kl(results),
        "choice": choose(results.of(results.seeds[0])),
        "methods": [same[0] for same in results.by_name()],
        "folders": _folders(results),
        "stages": [(name, duration_text(s)) for name, s in results.stage_seconds.items()],
        "total": duration_text(sum(results.stage_seconds.values())),
    }
    write_page(path, "reproduction.html", values, folder=_TEMPLATES, script="completions.js")


def _seed(results: Results, seed: int) -> _Seed:
    return _Seed(
        seed=seed,
        figures=grid.figures(results, [seed]),
        every_k=grid.every_k(results, [seed]),
        differences=grid.differences(results, [seed]),
        gains=grid.gains(results, [seed]),
        at_k=pictures.at_k(results, seed),
        verdicts=pictures.verdicts(results, seed),
        calibration=pictures.calibration(results, seed),
    )


def _lead(results: Results) -> str:
    """The result in two sentences."""
    asked = f"{results.num_problems:,} {results.split} problems"
    over = f", median of {len(results.seeds)} seeds" if len(results.seeds) > 1 else ""
    ours, baseline = results.first("ours"), results.first("baseline")
    hero = ours or baseline or results.by_name()[-1]
    text = f"{hero[0].name} answers {share(median(hero, 'top-1'))} of {asked} right at the first "
    text += f"try{over}"
    if not ours or not baseline:
        return f"{text}."
    text += f"; {baseline[0].name} answers {share(median(baseline, 'top-1'))}. "
    found = [method.differences["top-1"] for method in ours if "top-1" in method.differences]
    if len(found) != 1:
        return text.rstrip()
    low, high = points(found[0].low), points(found[0].high)
    sure = "" if found[0].sure else ", which does not tell them apart"
    return (
        f"{text}That is {points(found[0].value)} points on the same problems (95% interval {low} "
        f"to {high}{sure})."
    )


def _tiles(results: Results) -> list[dict[str, str]]:
    """The figures of our method, each with the baseline's and the paper's."""
    ours, baseline = results.first("ours"), results.first("baseline")
    tiles = []
    for figure in columns(ours):
        if any(figure not in method.figures for method in ours):
            continue
        notes = []
        if baseline and all(figure in method.figures for method in baseline):
            notes.append(f"{baseline[0].name} {share(median(baseline, figure))}")
        if figure in ours[0].paper:
            notes.append(f"paper {share(ours[0].paper[figure].share)}")
        value = share(median(ours, figure))
        tiles.append(
            {"label": f"{ours[0].name}, {figure}", "value": value, "note": ", ".join(notes)}
        )
    return tiles


def _folders(results: Results) -> list[tuple[str, str]]:
    """(method, where its evaluation lies), from the folder of the results where it is below."""
    found = []
    for method in results.methods:
        folder = method.evaluation
        if folder.is_relative_to(results.folder.parent):
            folder = folder.relative_to(results.folder.parent)
        found.append((f"{method.name}, seed {method.seed}", folder.as_posix()))
    return found
