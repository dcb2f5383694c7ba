"""Rewards: completion text in, verdict and reward out.

    answer text --judge (ops.extractor)--> Outcome
    Outcome + gold answer --compare--> Verdict --rule--> reward;  verdicts --vote--> an answer

Text only: no tensors, no model.
"""

from __future__ import annotations

from reft_megatron.rewards.judge import Judge, open_judge
from reft_megatron.rewards.rule import reward
from reft_megatron.rewards.vote import majority, reranked, weighted_majority

__all__ = ["Judge", "majority", "open_judge", "reranked", "reward", "weighted_majority"]
