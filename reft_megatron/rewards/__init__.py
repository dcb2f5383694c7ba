"""Rewards: completion text in, verdict and reward out.

    answer text --program_text / answer_text--> program or answer --pool--> Outcome
    Outcome + gold answer --compare--> Verdict --rule--> reward;  verdicts --vote--> majority

Model programs run in isolated processes only (`isolated/`). Text only: no tensors, no model.
"""

from __future__ import annotations

from reft_megatron.rewards.judge import Judge
from reft_megatron.rewards.rule import reward
from reft_megatron.rewards.vote import majority

__all__ = ["Judge", "majority", "reward"]
