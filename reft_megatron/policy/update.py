"""One optimizer step from micro-batches and a loss that is handed in.

Owns the gradient's scale: the loss of a micro-batch is a sum whose every term carries its own
normaliser (`learner.weights`), gradients are summed over micro-batches and data ranks, and nothing
else divides. That undoes, in one place, Megatron's divisions by micro-batches and ranks: its
per-token mode with a count that is never applied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from megatron.core.distributed import DistributedDataParallel, finalize_model_grads
from megatron.core.optimizer import MegatronOptimizer
from torch import Tensor

from reft_megatron.config import OptimizerConfig
from reft_megatron.mesh import Mesh
from reft_megatron.policy import optimizer as optimizers
from reft_megatron.policy.schedule import HeadOf, run_schedule
from reft_megatron.policy.score import CLASS_SCORES, SCORES, class_head, token_head
from reft_megatron.rollouts.batch import MicroBatch

__all__ = ["Loss", "StepStats", "sum_gradients", "update"]

Loss = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], tuple[Tensor, dict[str, Tensor]]]
"""(outputs by name [R, L], fields by name [R, L]) -> (scalar sum, statistics as scalar sums)."""

_OUTPUTS: Mapping[str, tuple[HeadOf, tuple[str, ...]]] = {
    "value": (token_head, SCORES),
    "rerank": (class_head, CLASS_SCORES),
}
"""What a loss gets of a model with each head."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStats:
    """What one optimizer step did; the same on every rank."""

    applied: bool
    """False if the loss or the gradient was not finite and the step was skipped."""
    loss: float
    """Sum of the loss over the global batch."""
    grad_norm: float
    """Global gradient norm before clipping."""
    lr: float
    """Learning rate of the step."""
    sums: dict[str, float]
    """The loss's statistics, summed over the global batch."""
    bad_batches: tuple[tuple[int, ...], ...] = ()
    """Sequence indices of this data rank's micro-batches whose loss was not finite."""


def sum_gradients(chunks: list[torch.nn.Module], *args: Any, **kwargs: Any) -> None:
    """Megatron's finalize_model_grads without its division by a token count."""
    finalize_model_grads(chunks, None, *args[1:], **kwargs)


def update(
    chunks: Sequence[DistributedDataParallel],
    optimizer: MegatronOptimizer,
    batches: Sequence[MicroBatch],
    *,
    mesh: Mesh,
    head: str,
    loss: Loss,
    config: OptimizerConfig,
    lr: float,
    dropout: bool,
    faults: Tensor | None = None,
) -> StepStats:
    """Accumulate the gradient of `loss` over `batches` of all data ranks and step once.

    Of a model with the `head` value, `loss` gets SCORES, with rerank CLASS_SCORES. `faults` int32
    [1], where it is given, counts what was not finite on the way and would not show in the end.
    """
    head_of, names = _OUTPUTS[head]

    def loss_of(batch: MicroBatch, output: Tensor) -> tuple[Tensor, Any]:
        outputs = dict(zip(names, output, strict=True))
        value, sums = loss(outputs, batch.fields)
        kept = {"loss": value.detach(), **{name: x.detach() for name, x in sums.items()}}
        return value, (batch.indices, kept)

    for chunk in chunks:
        chunk.zero_grad_buffer()
    optimizer.zero_grad()
    done = run_schedule(chunks, batches, mesh, head_of=head_of, loss_of=loss_of, dropout=dropout)
    bad = tuple(indices for indices, kept in done if not bool(torch.isfinite(kept["loss"])))
    sums = _global_sums([kept for _, kept in done], mesh)
    sound = faults is None or not bool(mesh.world.sum(faults))
    if sound and math.isfinite(sums["loss"]):
        applied, norm = optimizers.step(optimizer, config, lr)
    else:
        applied, norm = False, math.nan
    return StepStats(
        applied=applied,
        loss=sums.pop("loss"),
        grad_norm=norm,
        lr=lr,
        sums=sums,
        bad_batches=bad,
    )


def _global_sums(parts: list[dict[str, Tensor]], mesh: Mesh) -> dict[str, float]:
    """Sums over micro-batches and data ranks, on every rank of every stage."""
    found: dict[str, float] | None = None
    if parts:
        names = list(parts[0])
        # float64, so that the order of micro-batches does not show.
        stacked = torch.stack([torch.stack([part[n].double() for n in names]) for part in parts])
        total = mesh.data.sum(stacked.sum(dim=0))
        found = dict(zip(names, total.tolist(), strict=True))
    return mesh.pipeline.broadcast_object(found, source=mesh.pipeline.size - 1)
