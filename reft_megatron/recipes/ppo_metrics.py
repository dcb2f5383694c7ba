"""What a PPO iteration reports about its rollouts and its updates.

Owns the metrics that need no tensors of the learner; names are those of `log.metrics`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from reft_megatron.policy import StepStats
from reft_megatron.types import Reason, Rollout

__all__ = ["rollout_metrics", "update_metrics"]


def rollout_metrics(rollouts: Sequence[Rollout], *, asked: int) -> dict[str, float]:
    """Rewards, verdict shares and lengths of a whole batch; accuracy apart from reward.

    What is missing of the completions that were `asked` could not be judged: so a batch has the
    same metrics whether it was sampled now or comes from a ledger.
    """
    count = len(rollouts)
    # A ledger that is replayed may hold more than this run would ask.
    faults = max(asked - count, 0)
    reasons = Counter(rollout.verdict.reason for rollout in rollouts)
    reasons[Reason.EXECUTOR_FAULT] = faults
    lengths = np.array([len(rollout.completion.token_ids) for rollout in rollouts])
    return {
        "reward/mean": float(np.mean([rollout.reward for rollout in rollouts])),
        "reward/accuracy": reasons[Reason.CORRECT] / count,
        **{f"verdict/{reason}": reasons[reason] / (count + faults) for reason in Reason},
        "response/length": float(lengths.mean()),
        "response/length_std": float(lengths.std()),
        "response/finished": float(np.mean([r.completion.finished for r in rollouts])),
        "prompt/length": float(np.mean([len(r.completion.prompt_ids) for r in rollouts])),
        "faults/executor": faults,
    }


def update_metrics(stats: StepStats) -> dict[str, float]:
    """PPO's side of the last update on the batch."""
    return {
        "policy/loss": stats.sums["pg_loss"],
        "policy/ratio": stats.sums["ratio"],
        "policy/clip_fraction": stats.sums["clip_fraction"],
        "policy/approx_kl": stats.sums["approx_kl"],
        "value/loss": stats.sums["vf_loss"],
    }
