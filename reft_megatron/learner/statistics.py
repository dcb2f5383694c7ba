"""Figures about a rollout batch, or a reranker's scores, that the metrics show.

Owns the statistics that train_rl_reft.py logs beside the losses, and those that select a reranker.
All arrays are flat, [N]: the counted entries of the whole batch, gathered over data ranks by the
caller (`x[mask]`, then concatenated).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

__all__ = [
    "area_under_curve",
    "cross_entropy",
    "explained_variance",
    "mean_sequence_kl",
    "probabilities",
    "reference_scores",
    "rollout_statistics",
]

_EPSILON = 1e-8


def explained_variance(*, values: Tensor, returns: Tensor) -> float:
    """How much of the returns the value head foretold: `1 - var(R - V) / (var R + 1e-8)`.

    At most 1, and cut at -1 as in train_rl_reft.py (`vf_expl_var`). `values` and `returns` [N].
    """
    residual = (returns.double() - values.double()).var().item()
    return max(-1.0, 1.0 - residual / (returns.double().var().item() + _EPSILON))


def mean_sequence_kl(kl: Tensor, *, num_sequences: int) -> float:
    """KL in nats, summed over the tokens of a sequence, averaged over sequences. `kl` [N]."""
    return kl.double().sum().item() / num_sequences


def rollout_statistics(
    *, kl: Tensor, values: Tensor, returns: Tensor, advantages: Tensor, num_sequences: int
) -> dict[str, float]:
    """The named statistics of one batch; arrays [N], `advantages` before whitening, N > 1."""
    return {
        "mean_seq_kl": mean_sequence_kl(kl, num_sequences=num_sequences),
        "vf_expl_var": explained_variance(values=values, returns=returns),
        "mean_value": values.double().mean().item(),
        "mean_return": returns.double().mean().item(),
        "mean_advantage": advantages.double().mean().item(),
        "var_advantage": advantages.double().var().item(),
    }


def area_under_curve(*, scores: Tensor, labels: Tensor) -> float:
    """Share of the (right, wrong) pairs whose right one has the higher score; equal ones count 1/2.

    The area under the ROC curve, by the Mann-Whitney U: the ranks of the right ones, where equal
    scores share the mean of their ranks. `scores` and `labels` (bool, True for right) [N], some of
    each label; ValueError if all are of one.
    """
    right = int(labels.sum())
    pairs = right * (len(labels) - right)
    if pairs == 0:
        raise ValueError("no pair of a right and a wrong one to compare")
    ordered, ours = scores.sort().values, scores[labels]
    # Twice the mean rank of equal scores, from 1 up: integers, so nothing is rounded on the way.
    below = torch.searchsorted(ordered, ours)
    through = torch.searchsorted(ordered, ours, right=True)
    doubled = int((below + through + 1).sum())
    return (doubled - right * (right + 1)) / (2 * pairs)


def cross_entropy(*, margins: Tensor, labels: Tensor) -> float:
    """Mean in nats of `losses.classification_loss`, from `margins` = right - wrong.

    `margins` and `labels` (bool) [N]; computed in float64.
    """
    signed = torch.where(labels, -margins.double(), margins.double())
    return functional.softplus(signed, threshold=40).mean().item()


def probabilities(margins: NDArray[np.float32]) -> NDArray[np.float64]:
    """P(right) by a reranker's margins: softmax of its two classes, 1 / (1 + exp(-margin)), [N]."""
    return 0.5 * (1 + np.tanh(0.5 * margins.astype(np.float64)))


def reference_scores(margins: NDArray[np.float32]) -> NDArray[np.float32]:
    """The `probabilities` as the reference compares them, rounded to bf16, which makes ties.

    train_reward_model.py:247-249. Its model is bf16 too, whose scores are rounded before.
    """
    return torch.from_numpy(probabilities(margins)).bfloat16().float().numpy()
