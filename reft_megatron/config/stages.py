"""The settings of single recipes: one section for each.

Owns their defaults and the checks of single values, as `sections` does for what all recipes share.
"""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from reft_megatron.config.ranges import STRICT, Count, Fraction, NonNegative, Positive, Zero

__all__ = [
    "EvaluateConfig",
    "OfflineSlConfig",
    "OnlineSlConfig",
    "PpoConfig",
    "PretrainConfig",
    "RerankConfig",
    "SampleConfig",
    "SftConfig",
]


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class PretrainConfig:
    """Language modelling on generated documents: makes a base model for the shipped task."""

    steps: Count = 1000
    """Optimizer steps."""
    batch_size: Count = 64
    """Documents per step, over all data-parallel ranks."""
    copy_fraction: Fraction = 0.5
    """Share of documents that are a random string repeated; they teach copying."""
    right_fraction: Fraction = 0.5
    """Share of programs that are right; the others compute something else from the same numbers."""
    question_weight: NonNegative = 0.1
    """Loss weight of the tokens of the question; all others weigh 1."""
    checkpoint_every: Zero = 0
    """Steps between checkpoints; 0 only at the end."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class SftConfig:
    """Supervised fine-tuning on gold chains of thought."""

    epochs: Count = 40
    """Passes over the training problems that the schedule is laid out for."""
    batch_size: Count = 48
    """Sequences per optimizer step, over all data-parallel ranks."""
    stop_after_epoch: Zero = 0
    """Stop early after this many epochs, schedule unchanged (the paper's warm-up); 0 never."""
    evaluate_every: Zero = 1
    """Epochs between evaluations on the dev split; 0 only at the end."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class PpoConfig:
    """ReFT: PPO against the program-checked reward (paper section 3.2)."""

    iterations: Count = 1000
    """Rollout batches."""
    batch_size: Count = 32
    """Problems per rollout batch, over all data-parallel ranks."""
    samples_per_problem: Count = 1
    """Completions per problem in a batch."""
    updates_per_batch: Count = 2
    """Passes over each rollout batch (paper's U); each is one optimizer step."""
    kl_coef: NonNegative = 0.01
    """Weight beta of the KL penalty inside the reward (0.01 programs, 0.05 natural language)."""
    value_coef: NonNegative = 5.0
    """Weight alpha of the value loss."""
    clip_range: Positive = 0.2
    """Clip of the probability ratio and of the value (epsilon)."""
    gamma: Fraction = 1.0
    """Discount of rewards."""
    lam: Fraction = 0.95
    """Decay of generalised advantage estimation."""
    truncated_reward: Literal["keep", "zero"] = "keep"
    """Reward of a completion cut by the length limit: as judged (reference), or 0."""
    evaluate_every: Zero = 50
    """Iterations between evaluations on the dev split; 0 only at the end."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class SampleConfig:
    """Many completions of each problem, for self-training, reranking and votes."""

    split: Literal["train", "dev", "test"] = "train"
    """Which problems."""
    samples_per_problem: Count = 100
    """Completions per problem (paper 100)."""
    batch_size: Count = 32
    """Problems per block, over all data-parallel ranks; a block is an iteration of the ledger."""
    max_problems: Zero = 0
    """Only the first this many problems; 0 takes all."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class OfflineSlConfig:
    """Offline self-training: fine-tuning on gold chains and right completions from a ledger."""

    ledger: str = ""
    """Ledger of the recipe sample on the train split."""
    samples_per_problem: Count = 10
    """Right completions of a problem that are learnt from, at most (paper 10)."""
    epochs: Count = 20
    """Passes over both (the reference's 20)."""
    batch_size: Count = 48
    """Sequences per optimizer step, over all data-parallel ranks."""
    evaluate_every: Zero = 1
    """Epochs between evaluations on the dev split; 0 only at the end."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class OnlineSlConfig:
    """Online self-training: the policy's own right completions and gold chains, half and half."""

    iterations: Count = 1000
    """Rollout batches."""
    batch_size: Count = 32
    """Problems per rollout batch, over all data-parallel ranks."""
    samples_per_problem: Count = 1
    """Completions per problem in a batch."""
    updates_per_batch: Count = 2
    """Passes over each rollout batch; each is one optimizer step."""
    evaluate_every: Zero = 50
    """Iterations between evaluations on the dev split; 0 only at the end."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class RerankConfig:
    """A reranker, trained on recorded rollouts with their verdicts."""

    ledger: str = ""
    """Ledger of the rollouts."""
    unique: bool = True
    """Learn from one of each text of a problem."""
    dev_size: Count = 200
    """Problems of the ledger kept for selection, the first in a fixed order of ids."""
    epochs: Count = 3
    """Passes over the rollouts (paper 3)."""
    batch_size: Count = 24
    """Sequences per optimizer step, over all data-parallel ranks (the reference's 24)."""
    evaluate_every: Zero = 1
    """Epochs between evaluations on the dev part; 0 only at the end."""
    select: Literal["auc", "loss"] = "auc"
    """What the best checkpoint is best at there: telling right from wrong, or how surely."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class EvaluateConfig:
    """Evaluation."""

    split: Literal["train", "dev", "test"] = "test"
    """Which problems."""
    samples: Zero = 0
    """Completions per problem for vote@k and pass@k; 0 takes all of `ledger`, or none."""
    ledger: str = ""
    """Ledger of the recipe sample whose completions are counted in the place of new ones."""
    reranker: str = ""
    """Checkpoint of the recipe rerank that scores the completions: rerank@k and weighted@k."""
    max_problems: Zero = 0
    """Evaluate only the first this many problems; 0 takes all."""
