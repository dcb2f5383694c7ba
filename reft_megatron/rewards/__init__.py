"""Rewards: completion text in, verdict and reward out.

    answer text --judge (ops.extractor)--> Outcome
    Outcome + gold answer --compare--> Verdict --rule--> reward;  verdicts --vote--> an answer

Custom tasks bring a file with `reward(problem, completion)` in the place of the judge; `right`,
`wrong` and `no_answer` make its verdicts. Text only: no tensors, no model.
"""

from __future__ import annotations

from reft_megatron.rewards.judge import Judge
from reft_megatron.rewards.opening import open_judge
from reft_megatron.rewards.reward_file import RewardFile
from reft_megatron.rewards.rule import reward
from reft_megatron.rewards.verdicts import no_answer, right, wrong
from reft_megatron.rewards.vote import majority, reranked, weighted_majority

__all__ = [
    "Judge",
    "RewardFile",
    "majority",
    "no_answer",
    "open_judge",
    "reranked",
    "reward",
    "right",
    "weighted_majority",
    "wrong",
]
