"""AdamW through Megatron's optimizers, and the learning-rate schedule.

Owns building the optimizer (distributed or not), the schedule, and a step that refuses a gradient
that is not finite. Gradients arrive already normalised: nothing here divides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from megatron.core.optimizer import MegatronOptimizer, get_megatron_optimizer
from megatron.core.optimizer import OptimizerConfig as MegatronOptimizerConfig

from reft_megatron.config import OptimizerConfig

__all__ = ["build_optimizer", "learning_rate", "step"]


def build_optimizer(
    chunks: Sequence[torch.nn.Module], config: OptimizerConfig, *, distributed: bool, bf16: bool
) -> MegatronOptimizer:
    """Megatron's AdamW over `chunks`, with fp32 state; sharded over data ranks if `distributed`."""
    settings = MegatronOptimizerConfig(
        optimizer="adam",
        lr=config.lr,
        min_lr=config.min_lr,
        weight_decay=config.weight_decay,
        adam_beta1=config.beta1,
        adam_beta2=config.beta2,
        adam_eps=config.eps,
        clip_grad=config.clip_grad,
        bf16=bf16,
        params_dtype=torch.bfloat16 if bf16 else torch.float32,
        use_distributed_optimizer=distributed,
        log_num_zeros_in_grad=False,
    )
    optimizer = get_megatron_optimizer(settings, list(chunks)).chained_optimizers[0]
    for group in optimizer.param_groups:
        if "foreach" in group:  # torch's AdamW
            # On GPUs it would hold the roots of all second moments at once: 4 more bytes a weight.
            group["foreach"] = False
    return optimizer


def learning_rate(config: OptimizerConfig, step: int, total_steps: int) -> float:
    """Learning rate of optimizer step `step` (0-based) of `total_steps`.

    Linear warm-up over `warmup_fraction` of the steps, then constant, linear or cosine decay to
    `min_lr`. The reference's (transformers' linear schedule) is one step behind in the warm-up: its
    first step has a learning rate of 0 and changes nothing.
    """
    warmup = int(config.warmup_fraction * total_steps)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    if config.schedule == "constant":
        return config.lr
    left = 1 - (step - warmup) / max(1, total_steps - warmup)
    share = max(0.0, left)
    if config.schedule == "cosine":
        share = 0.5 * (1 - math.cos(math.pi * share))
    return config.min_lr + (config.lr - config.min_lr) * share


def step(optimizer: MegatronOptimizer, config: OptimizerConfig, lr: float) -> tuple[bool, float]:
    """Clip and apply the accumulated gradients: (applied, global gradient norm before clipping).

    A norm that is not finite leaves weights and optimizer state untouched. Every rank decides the
    same, because the norm is reduced over all of them.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.prepare_grads()
    norm = float(optimizer.get_grad_norm())
    if not math.isfinite(norm):
        return False, norm
    if config.clip_grad > 0:
        optimizer.clip_grad_norm(config.clip_grad)
    optimizer.step_with_ready_grads()
    return True, norm
