"""A figure over seeds.

Owns what stands in a cell: with one seed the figure with its interval over problems, with several
their median with the least and the greatest, since three values have no interval.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reft_megatron.commands.reproduce.results import Method
from reft_megatron.rewards.statistics import Estimate

__all__ = ["Spread", "across", "median", "spread"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A figure and what lies around it."""

    median: float
    """The median; of one seed the figure itself."""
    low: float
    """The least; of one seed the lower end of its interval."""
    high: float
    """The greatest; of one seed the upper end of its interval."""


def spread(values: Iterable[float]) -> Spread:
    """The spread of one value or more."""
    seen = list(values)
    return Spread(median=statistics.median(seen), low=min(seen), high=max(seen))


def median(same: Iterable[Method], figure: str) -> float:
    """The median of a figure that a method has with every seed."""
    return statistics.median(method.figures[figure].value for method in same)


def across(figures: Sequence[Estimate | None]) -> Spread | None:
    """What stands in the cell of a figure, one of each seed; None unless all seeds have it."""
    found = [estimate for estimate in figures if estimate is not None]
    if not found or len(found) < len(figures):
        return None
    if len(found) == 1:
        return Spread(median=found[0].value, low=found[0].low, high=found[0].high)
    return spread(estimate.value for estimate in found)
