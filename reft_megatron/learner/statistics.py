"""Figures about a rollout batch that the metrics show.

Owns the statistics that train_rl_reft.py logs beside the losses. All arrays are flat, [N]: the
counted entries of the whole batch, gathered over data ranks by the caller (`x[mask]`, then
concatenated).
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["explained_variance", "mean_sequence_kl", "rollout_statistics"]

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
