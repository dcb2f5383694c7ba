"""Scores of given tokens: the same however the sequences are laid out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.policy.scene import SPREAD, Layout, open_policy, scores_by_problem

Scores = dict[str, dict[str, np.ndarray[Any, Any]]]


def agree(found: Scores, wanted: Scores) -> float:
    """Largest difference of any number about any token but a sequence's first."""
    assert found.keys() <= wanted.keys()
    return max(
        float(abs(row[1:] - wanted[key][name][1:]).max())
        for key, rows in found.items()
        for name, row in rows.items()
    )


@pytest.fixture(scope="module")
def wanted(still) -> Scores:
    return scores_by_problem(still)


def play_scores(layout: Layout) -> Scores:
    return scores_by_problem(open_policy(layout, total_steps=None))


@pytest.mark.megatron
@pytest.mark.parametrize("name", SPREAD)
def test_every_layout_scores_alike(ranks, wanted, name: str):
    layout = SPREAD[name]
    seen = [scores for scores in ranks(layout.world, play_scores, layout) if scores]
    assert len(seen) == layout.world // layout.pipeline, "only the last stage has scores"
    assert {key for scores in seen for key in scores} == wanted.keys()
    far = max(agree(scores, wanted) for scores in seen)
    print(f"\n{name:9} scores {far:.1e}")
    assert far < 2e-5


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("max_tokens", [64, 1000])
def test_neither_packing_nor_micro_batches_matter(still, wanted, packed: bool, max_tokens: int):
    found = scores_by_problem(still, packed=packed, max_tokens=max_tokens)
    assert found.keys() == wanted.keys()
    assert agree(found, wanted) < 2e-5


def test_scores_are_rows_of_their_sequences(still, wanted):
    for rows in wanted.values():
        assert list(rows) == ["logprobs", "values", "entropies"]
        assert {row.dtype for row in rows.values()} == {np.dtype(np.float32)}
        assert len({row.shape for row in rows.values()}) == 1
        assert (rows["logprobs"][1:] < 0).all()
        assert (rows["entropies"][1:] > 0).all()
