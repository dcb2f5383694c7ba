"""Will it fit, and how long may it take: arithmetic over settings.

`tools/plan.py` asks for all layouts, the trainer for its own before it builds anything.
"""

from reft_megatron.policy.plan.case import DOCUMENT_TOKENS, JOBS, Case
from reft_megatron.policy.plan.check import Available, available_memory, check_memory
from reft_megatron.policy.plan.search import KEPT_BACK, search, try_remedies
from reft_megatron.policy.plan.speed import ASSUMPTIONS, GPUS, nearest_gpu
from reft_megatron.policy.plan.weights import count_parameters

__all__ = [
    "ASSUMPTIONS",
    "DOCUMENT_TOKENS",
    "GPUS",
    "JOBS",
    "KEPT_BACK",
    "Available",
    "Case",
    "available_memory",
    "check_memory",
    "count_parameters",
    "nearest_gpu",
    "search",
    "try_remedies",
]
