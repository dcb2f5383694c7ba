"""How good a figure over problems is, and how sure.

Owns pass@k, and 95 % intervals by the bootstrap: as many problems as there are are drawn from them
with replacement, and the figure is taken again, ten thousand times; between two methods, which
answered the same problems, it is the difference. Outcomes in, numbers out: knows neither answers
nor models.

Legend: N problems, K figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reft_megatron.errors import DataError

__all__ = ["Estimate", "Outcomes", "bootstrap", "doublings", "paired_bootstrap", "pass_at"]

_RESAMPLES = 10_000
_TAILS = (0.025, 0.975)
_AT_ONCE = 2_000_000
"""Draws held at once."""

Outcomes = NDArray[np.floating] | NDArray[np.bool_]
"""[N], what became of each problem: right or wrong, or a chance in 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over problems, or a difference of two, with its 95 % interval."""

    value: float
    """The mean."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end."""

    @property
    def sure(self) -> bool:
        """Of a difference: whether its interval leaves out 0."""
        return not self.low <= 0 <= self.high


def doublings(samples: int) -> list[int]:
    """The k of a curve over k: 1, 2, 4, ... below `samples`, and `samples` itself."""
    powers = [1 << n for n in range(samples.bit_length())]
    return [k for k in powers if k < samples] + [samples]


def pass_at(k: int, right: NDArray[np.integer], *, samples: int) -> NDArray[np.float64]:
    """pass@k of each problem: how likely k of its `samples` are to hold a right one, [N] in 0..1.

    `right`: right samples of each problem, [N]. It is 1 - C(n-c, k) / C(n, k), which is unbiased
    (Chen et al. 2021, arXiv 2107.03374, equation 1), as a product that cannot overflow. Raises
    DataError if k is not in 1..samples.
    """
    if not 1 <= k <= samples:
        raise DataError(
            f"pass@{k} cannot be told from {samples} samples a problem; take a k from 1 to "
            f"{samples}, or sample more."
        )
    drawn = np.arange(k)
    # The chance that all k are wrong, draw by draw; once the wrong ones are used up it stays 0.
    wrong = np.maximum(samples - np.asarray(right)[:, None] - drawn, 0) / (samples - drawn)
    chances: NDArray[np.float64] = 1 - wrong.prod(axis=1)
    return chances


def bootstrap(
    outcomes: Mapping[str, Outcomes], *, seed: int = 0, resamples: int = _RESAMPLES
) -> dict[str, Estimate]:
    """The mean of each array [N], one outcome per problem, with its percentile interval.

    All figures see the same draws, so that they can be compared; the same seed gives the same
    intervals. Where every outcome is the same the interval has no width: the sample says nothing of
    what is rare. Raises DataError without problems, or for arrays of different lengths.
    """
    table = np.stack([np.asarray(o, np.float64) for o in _alike(outcomes)], axis=1)
    problems = len(table)
    random = np.random.default_rng(seed)
    chunk = max(1, _AT_ONCE // problems)
    means = []
    for start in range(0, resamples, chunk):
        draws = random.integers(problems, size=(min(chunk, resamples - start), problems))
        counts = np.stack([np.bincount(draw, minlength=problems) for draw in draws])
        means.append(counts @ table / problems)
    low, high = np.quantile(np.concatenate(means), _TAILS, axis=0)
    return {
        name: Estimate(value=float(table[:, i].mean()), low=float(low[i]), high=float(high[i]))
        for i, name in enumerate(outcomes)
    }


def paired_bootstrap(
    ours: Mapping[str, float],
    theirs: Mapping[str, float],
    *,
    seed: int = 0,
    resamples: int = _RESAMPLES,
) -> Estimate:
    """Mean of ours minus theirs, both an outcome per problem id, with its interval.

    Raises DataError unless both are of the same problems.
    """
    if alone := sorted(set(ours) ^ set(theirs)):
        raise DataError(
            f"{len(alone)} problems have an outcome of one method only, {alone[0]} among them; "
            "compare methods on the same problems."
        )
    difference = np.array([ours[name] - theirs[name] for name in sorted(ours)], np.float64)
    return bootstrap({"difference": difference}, seed=seed, resamples=resamples)["difference"]


def _alike(outcomes: Mapping[str, Outcomes]) -> list[Outcomes]:
    """The arrays, if they are of the same, and some, problems."""
    lengths = {name: len(array) for name, array in outcomes.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise DataError(
            f"an interval wants outcomes of the same problems, at least one; saw {lengths}."
        )
    return list(outcomes.values())
