"""What figures are called and in which order people read them.

Owns taking `vote@32` apart. Tables, files and the report ask here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from reft_megatron.commands.reproduce.results import Method
from reft_megatron.rewards.statistics import Estimate

__all__ = [
    "KINDS",
    "columns",
    "curve",
    "kind_of",
    "largest",
    "ordered",
    "points",
    "samples_of",
    "share",
]

KINDS: Mapping[str, str] = {
    "top-1": "the most likely answer, greedy",
    "vote": "the most frequent answer of k samples",
    "rerank": "the answer of the sample that the reranker trusts most",
    "weighted": "the vote, each sample counting with the reranker's probability that it is right",
    "pass": "at least one of k samples is right: the ceiling of every way to choose",
}
"""Kinds of figures in reading order, each with what it is the share of."""


def kind_of(figure: str) -> str:
    """`vote` of `vote@32`; `top-1` is its own kind."""
    return figure.partition("@")[0]


def samples_of(figure: str) -> int:
    """32 of `vote@32`; 0 of `top-1`, which takes no samples."""
    return int(figure.partition("@")[2] or 0)


def largest(names: Mapping[str, object], way: str) -> str | None:
    """Of figures called `way@k` the one with the largest k; `way` itself where it has none."""
    found = [name for name in names if kind_of(name) == way]
    return max(found, key=samples_of, default=None)


def ordered(figures: Iterable[str]) -> list[str]:
    """Each figure of a known kind once: by kind, then by k."""
    known = {figure for figure in figures if kind_of(figure) in KINDS}
    kinds = list(KINDS)
    return sorted(known, key=lambda figure: (kinds.index(kind_of(figure)), samples_of(figure)))


def columns(methods: Sequence[Method]) -> list[str]:
    """The columns of the table: of each kind the largest k of every method and of the paper."""
    sources = [figures for method in methods for figures in (method.figures, method.paper)]
    found = {largest(figures, kind) for figures in sources for kind in KINDS}
    return ordered(figure for figure in found if figure is not None)


def curve(figures: Mapping[str, Estimate], kind: str) -> dict[int, Estimate]:
    """k to the figure of one kind, k ascending."""
    names = [name for name in ordered(figures) if kind_of(name) == kind]
    return {samples_of(name): figures[name] for name in names}


def share(value: float) -> str:
    """A share as people read it."""
    return f"{100 * value:.1f}%"


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * difference:+.1f}".replace("-", "\N{MINUS SIGN}")
