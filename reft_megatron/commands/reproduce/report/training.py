"""How each method learned, with what it had learned before.

Owns laying runs behind one another: a method that goes on from the weights of a run begins where
that run ended, in passes and in seconds. Counting begins with the first run that was evaluated on
dev problems, the warm-up for instance; what made the base model is not counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from reft_megatron.commands.reproduce.results import Method
from reft_megatron.log.records import Series, read_series

__all__ = ["Learning", "learning_curves"]

_METRIC = "eval/dev_accuracy"
_PASSES = "train/epoch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """The dev accuracy of one method with one seed, at every evaluation of its own run."""

    name: str
    """The method."""
    seed: int
    """Its seed."""
    accuracy: tuple[float, ...]
    """Share of the dev problems answered right, greedy."""
    passes: tuple[float, ...]
    """Passes over the training problems until then; empty if its runs did not count them all."""
    seconds: tuple[float, ...]
    """Seconds of training until then, without evaluations and checkpoints."""


def learning_curves(methods: Sequence[Method]) -> list[Learning]:
    """Those of the methods that were evaluated on dev problems while they learned.

    Raises DataError for a damaged file in a run's folder.
    """
    found = []
    for method in methods:
        whole = [read_series(folder) for folder in method.runs]
        runs = list(itertools.dropwhile(lambda run: _METRIC not in run, whole))
        if runs and _METRIC in runs[-1]:
            steps, values = runs[-1][_METRIC]
            counted = all(_PASSES in run for run in runs)
            passes = [_passes(run) for run in runs] if counted else []
            seconds = [_seconds(run) for run in runs]
            found.append(
                Learning(
                    name=method.name,
                    seed=method.seed,
                    accuracy=tuple(values),
                    passes=_laid(passes, steps) if counted else (),
                    seconds=_laid(seconds, steps),
                )
            )
    return found


Curve = list[tuple[int, float]]
"""(step, how much was done until then), ascending."""


def _laid(curves: Sequence[Curve], steps: Sequence[int]) -> tuple[float, ...]:
    """The last curve at `steps`, behind the ends of those before it."""
    before = sum(curve[-1][1] for curve in curves[:-1] if curve)
    return tuple(before + _at(curves[-1], step) for step in steps)


def _at(curve: Curve, step: int) -> float:
    return next((value for at, value in reversed(curve) if at <= step), 0.0)


def _passes(run: Series) -> Curve:
    return list(zip(*run[_PASSES], strict=True))


def _seconds(run: Series) -> Curve:
    """Seconds of training after each timed step."""
    spent: dict[int, float] = {}
    for name, sign in (("time/iteration", 1), ("time/evaluate", -1), ("time/checkpoint", -1)):
        for step, value in zip(*run.get(name, ([], [])), strict=True):
            spent[step] = spent.get(step, 0.0) + sign * value
    steps = sorted(spent)
    return list(zip(steps, itertools.accumulate(spent[step] for step in steps), strict=True))
