"""The recipes by name, for whoever starts one or checks what is to be started.

A recipe is `reft_megatron.recipes.NAME`. Here are the names alone: importing one takes seconds.
"""

from __future__ import annotations

__all__ = ["RECIPES"]

RECIPES = {
    "pretrain": "make a base model for the shipped arithmetic task",
    "sft": "supervised fine-tuning: the warm-up, or the baseline",
    "ppo": "ReFT: PPO against program-checked rewards",
    "sample": "many judged completions of each problem of a split, into a ledger",
    "offline_sl": "offline self-training: gold chains and right completions from a ledger",
    "online_sl": "online self-training: the policy's own right completions and gold chains",
    "rerank": "a reranker: tells right completions from wrong ones",
    "evaluate": "greedy top-1, majority vote and pass@k on a split, with intervals",
}
"""Name and meaning."""
