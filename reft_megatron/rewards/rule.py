"""The reward rule: what a verdict is worth.

Owns the three numbers of the paper (section 3.2): 1 for the right answer, a small partial reward
for an answer that is of the right kind and wrong, 0 for anything else.
"""

from __future__ import annotations

from reft_megatron.types import Reason, Verdict

__all__ = ["reward"]


def reward(verdict: Verdict, *, partial: float) -> float:
    """1, `partial`, or 0.

    Raises ValueError for an executor fault: it says nothing about the completion, so there is no
    reward to give. Callers drop such rollouts from the batch and count them.
    """
    if verdict.reason is Reason.EXECUTOR_FAULT:
        raise ValueError(
            f"an executor fault has no reward ({verdict.detail}); drop the rollout and count it."
        )
    if verdict.correct:
        return 1.0
    return partial if verdict.extracted else 0.0
