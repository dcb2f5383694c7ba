"""Figures and their targets."""

from __future__ import annotations

import pytest

from tools.extractor_bench.corpus import Corpus
from tools.extractor_bench.figures import Figure, Plan, measure_all
from tools.extractor_bench.timing import Spread

PROGRAMS = [f"def solution():\n    return {value}" for value in range(300)]
TEXTS = [f"It is {value}.\nTherefore, the answer is: {value}" for value in range(300)]


@pytest.mark.parametrize(
    ("target", "met"),
    [({"at_least": 2}, True), ({"at_least": 3}, False), ({"at_most": 1}, False), ({}, None)],
)
def test_targets(target: dict[str, float], met: bool | None) -> None:
    figure = Figure(key="k", label="l", spread=Spread(2, 1, 9), unit="s", **target)
    assert figure.met is met


def test_every_figure_is_measured_once() -> None:
    gold = [float(value) for value in range(300)]
    corpus = Corpus(
        svamp=PROGRAMS, svamp_gold=gold, real=PROGRAMS, plain=PROGRAMS, finite=PROGRAMS,
        strict=TEXTS, lenient=TEXTS, texts_gold=gold,
    )  # fmt: skip
    plan = Plan(rounds=1, calls=5, shape=(2, 50), repeats=1, reference_calls=1)
    found = list(measure_all(corpus, plan))
    figures = [one for one in found if isinstance(one, Figure)]
    told = [one for one in found if isinstance(one, str)]
    assert len({figure.key for figure in figures}) == len(figures)
    assert all(figure.spread.low > 0 for figure in figures)
    assert "SVAMP programs: 300 of 300 right." in told
    assert "1 rows of the batch ended at the step limit." in told
    assert any("did not run: nothing." in line for line in told)
