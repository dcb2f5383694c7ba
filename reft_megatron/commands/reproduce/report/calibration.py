"""Whether a reranker's probabilities can be believed.

Owns the reliability diagram's numbers and the expected calibration error; what the probabilities
are of comes from the caller.

Legend: N scored completions, M bins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reft_megatron.learner.statistics import probabilities

__all__ = ["Bin", "Calibration", "calibrate"]

_BINS = 10
_Z = 1.959964


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Completions whose probabilities are near each other."""

    low: float
    """Where the bin begins; it reaches a tenth further."""
    count: int
    """Completions in it, at least one."""
    confidence: float
    """Mean of their probabilities."""
    accuracy: float
    """Share of them that is right."""
    half: float
    """Half the width of the 95 % interval of `accuracy`; 0 where all or none are right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How probabilities compare with what was right."""

    count: int
    """Scored completions."""
    right: float
    """Share of them that is right."""
    bins: tuple[Bin, ...]
    """Those of ten bins of equal width that are not empty, from low to high."""
    error: float
    """Expected calibration error: the mean of |accuracy - confidence| over completions."""


def calibrate(
    margins: NDArray[np.float32], right: NDArray[np.bool_], problems: NDArray[np.int64]
) -> Calibration:
    """The calibration of `margins` (right - wrong), with the truth and the problem of each, [N].

    Bins and error are those of Guo et al. 2017 (arXiv 1706.04599, equation 3) with ten bins. The
    completions of one problem are alike, so the interval of a bin's accuracy is that of a ratio of
    sums over problems: the variance is sum (right_p - accuracy count_p)^2 / count^2. N is at
    least 1.
    """
    chances = probabilities(margins)
    places = np.minimum((chances * _BINS).astype(np.int64), _BINS - 1)
    bins = []
    for place in np.unique(places):
        inside = places == place
        accuracy = float(right[inside].mean())
        counts = np.bincount(problems[inside])
        rights = np.bincount(problems[inside], weights=right[inside])
        spread = float(np.square(rights - accuracy * counts).sum())
        bins.append(
            Bin(
                low=int(place) / _BINS,
                count=(count := int(inside.sum())),
                confidence=float(chances[inside].mean()),
                accuracy=accuracy,
                half=_Z * math.sqrt(spread) / count,
            )
        )
    return Calibration(
        count=len(margins),
        right=float(right.mean()),
        bins=tuple(bins),
        error=sum(b.count * abs(b.accuracy - b.confidence) for b in bins) / len(margins),
    )
