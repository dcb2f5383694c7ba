from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reft_megatron.learner.statistics import (
    area_under_curve,
    cross_entropy,
    explained_variance,
    mean_sequence_kl,
    probabilities,
    reference_scores,
    rollout_statistics,
)

RNG = np.random.default_rng(0)
RETURNS = RNG.normal(0.5, 1.0, 40)
VALUES = RETURNS + RNG.normal(0.1, 0.3, 40)


def test_explained_variance_is_that_of_the_residual():
    wanted = 1 - np.var(RETURNS - VALUES, ddof=1) / (np.var(RETURNS, ddof=1) + 1e-8)
    seen = explained_variance(values=torch.tensor(VALUES), returns=torch.tensor(RETURNS))
    assert seen == pytest.approx(wanted, abs=1e-12)


def test_explained_variance_is_one_for_the_truth_and_never_below_minus_one():
    returns = torch.tensor(RETURNS)
    assert explained_variance(values=returns, returns=returns) == 1.0
    assert explained_variance(values=-10 * returns, returns=returns) == -1.0


def test_sequence_kl_is_summed_over_tokens_and_averaged_over_sequences():
    assert mean_sequence_kl(torch.tensor([0.5, -0.25, 0.75]), num_sequences=2) == 0.5


def test_all_statistics_by_name():
    advantages = RETURNS - VALUES
    kl = RNG.normal(0, 0.1, 40)
    seen = rollout_statistics(
        kl=torch.tensor(kl),
        values=torch.tensor(VALUES),
        returns=torch.tensor(RETURNS),
        advantages=torch.tensor(advantages),
        num_sequences=4,
    )
    assert seen == pytest.approx(
        {
            "mean_seq_kl": kl.sum() / 4,
            "vf_expl_var": 1 - advantages.var(ddof=1) / (RETURNS.var(ddof=1) + 1e-8),
            "mean_value": VALUES.mean(),
            "mean_return": RETURNS.mean(),
            "mean_advantage": advantages.mean(),
            "var_advantage": advantages.var(ddof=1),
        },
        abs=1e-12,
    )


SCORED = st.lists(st.tuples(st.sampled_from([-1.5, 0.0, 0.25, 7.0]), st.booleans()), min_size=2)
"""Scores that often tie, with labels."""


@settings(deadline=None)  # a shared machine may stall
@given(scored=SCORED)
def test_the_area_under_the_curve_is_that_of_all_pairs(scored: list[tuple[float, bool]]):
    right = [score for score, label in scored if label]
    wrong = [score for score, label in scored if not label]
    scores, labels = (torch.tensor(x) for x in zip(*scored, strict=True))
    pairs = [(r > w) + (r == w) / 2 for r, w in itertools.product(right, wrong)]
    if pairs:
        assert area_under_curve(scores=scores, labels=labels) == sum(pairs) / len(pairs)
    else:
        with pytest.raises(ValueError, match="no pair of a right and a wrong one"):
            area_under_curve(scores=scores, labels=labels)


def test_the_cross_entropy_of_margins_is_that_of_two_classes():
    scores = torch.tensor(RNG.normal(0, 30, (40, 2)))
    labels = torch.tensor(RNG.random(40) < 0.3)
    wanted = torch.nn.functional.cross_entropy(scores, labels.long()).item()
    margins = scores[:, 1] - scores[:, 0]
    assert cross_entropy(margins=margins, labels=labels) == pytest.approx(wanted, rel=1e-12)


def test_the_probability_is_the_softmax_of_two_classes():
    scores = torch.tensor([[0.0, 0.0], [1.5, -0.5], [-40.0, 40.0], [900.0, -900.0]])
    wanted = scores.double().softmax(dim=1)[:, 1].numpy()
    found = probabilities((scores[:, 1] - scores[:, 0]).numpy())
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-16)


def test_the_references_scores_are_bf16_and_tie():
    """Between 1/2 and 1 bf16 has steps of 1/256: what is surer than 511/512 is sure."""
    margins = np.array([-30.0, 0.0, 1.0, 6.0, 6.5, 30.0], np.float32)
    found = reference_scores(margins)
    wanted = torch.stack([torch.zeros(6), torch.from_numpy(margins)], 1).softmax(1)[:, 1]
    assert found.tolist() == wanted.bfloat16().float().tolist()
    assert found.dtype == np.float32
    assert found[3] < found[4] == found[5] == 1
