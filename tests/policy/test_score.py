"""Scores of given tokens, and classes: the same however the sequences are laid out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from reft_megatron.policy import Policy
from tests.policy.plain import Plain
from tests.policy.scene import (
    ONE,
    SPREAD,
    Layout,
    assemble,
    classes_by_problem,
    make_rollouts,
    open_policy,
    scores_by_problem,
    weights_of,
)

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


RERANK = "model.head=rerank"


@pytest.fixture(scope="module")
def reranker(alone) -> Policy:
    return open_policy(ONE, RERANK, total_steps=None)


@pytest.fixture(scope="module")
def classes(reranker: Policy) -> dict[str, np.ndarray[Any, Any]]:
    """Of each rollout, from the model once more in plain torch."""
    plain = Plain(assemble([weights_of(reranker)]))
    found = {}
    with torch.no_grad():
        for rollout in make_rollouts():
            said = rollout.completion
            tokens = torch.from_numpy(np.concatenate([said.prompt_ids, said.token_ids])).long()
            last = plain.hidden(tokens)[-1]
            found[said.problem_id] = (last @ plain.weights["rerank_head.weight"].t()).numpy()
    return found


def assert_alike(found: dict[str, np.ndarray[Any, Any]], wanted: Any) -> None:
    """Up to the rounding of fp32: scores are of the size of 1."""
    for name, row in found.items():
        assert (row.shape, row.dtype) == ((2,), np.float32)
        np.testing.assert_allclose(row, wanted[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("max_tokens", [64, 1000])
def test_classes_are_of_each_sequences_last_token(reranker, classes, packed: bool, max_tokens: int):
    found = classes_by_problem(reranker, packed=packed, max_tokens=max_tokens)
    assert found.keys() == classes.keys()
    assert_alike(found, classes)


def play_classes(layout: Layout) -> dict[str, np.ndarray[Any, Any]]:
    return classes_by_problem(open_policy(layout, RERANK, total_steps=None))


@pytest.mark.megatron
@pytest.mark.parametrize("name", ["tp2-pp2", "pp2-vpp2", "dp2"])
def test_every_layout_classifies_alike(ranks, classes, name: str):
    layout = SPREAD[name]
    seen = [found for found in ranks(layout.world, play_classes, layout) if found]
    assert len(seen) == layout.world // layout.pipeline, "only the last stage has classes"
    assert {key for found in seen for key in found} == classes.keys()
    for found in seen:
        assert_alike(found, classes)
