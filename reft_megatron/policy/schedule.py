"""Running micro-batches through the pipeline with Megatron's schedules.

Owns the one call into Megatron's forward-backward functions (no pipeline, 1F1B, interleaved) and
the attention layout of a micro-batch. Knows no loss: heads and losses arrive as functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from megatron.core.pipeline_parallel import get_forward_backward_func
from megatron.core.transformer.transformer_layer import TransformerLayer
from torch import Tensor

from reft_megatron.mesh import Mesh
from reft_megatron.policy.attention import CoreAttention, Layout, Packed, Rectangle
from reft_megatron.policy.model import Head, PolicyModel
from reft_megatron.rollouts.batch import MicroBatch

__all__ = ["HeadOf", "run_schedule"]

HeadOf = Callable[[MicroBatch], Head]
"""Makes the last stage's head for one micro-batch."""

LossOf = Callable[[MicroBatch, Tensor], tuple[Tensor, Any]]
"""(micro-batch, head output) -> (scalar loss, anything to hand back)."""


def run_schedule(
    chunks: Sequence[torch.nn.Module],
    batches: Sequence[MicroBatch],
    mesh: Mesh,
    *,
    head_of: HeadOf,
    loss_of: LossOf | None = None,
    dropout: bool,
) -> list[Any]:
    """Forward (and with `loss_of` backward) every micro-batch; last stage gets one item for each.

    The item is `loss_of`'s second value, or the head's output when there is no loss. Other stages
    get an empty list. `dropout` switches dropout on, if the model has any.
    """
    _set_mode(chunks, backward=loss_of is not None, dropout=dropout)

    def step(feed: Iterator[MicroBatch], model: PolicyModel) -> tuple[Tensor, Callable[..., Any]]:
        batch = next(feed)
        output = model(batch.tokens, batch.positions, _layout(batch, mesh), head_of(batch))

        def finish(output: Tensor, non_loss_data: bool = False) -> Any:
            if loss_of is None:
                return output
            loss, kept = loss_of(batch, output)
            # With calculate_per_token_loss Megatron divides by this count nowhere but in
            # finalize_model_grads, and ours ignores it.
            return loss, torch.ones((), dtype=torch.int, device=loss.device), kept

        return output, finish

    rows, length = batches[0].positions.shape
    feeds = [iter(batches) for _ in chunks]
    forward_only = loss_of is None
    with torch.set_grad_enabled(not forward_only):
        return get_forward_backward_func()(
            forward_step_func=step,
            data_iterator=feeds if len(feeds) > 1 else feeds[0],
            model=list(chunks) if len(chunks) > 1 else chunks[0],
            num_microbatches=len(batches),
            seq_length=length,
            micro_batch_size=rows,
            forward_only=forward_only,
            collect_non_loss_data=forward_only,
        )


def _set_mode(chunks: Sequence[torch.nn.Module], *, backward: bool, dropout: bool) -> None:
    """Training mode where a backward pass follows, or Megatron would recompute nothing in it.

    Only the modules that drop are in training mode or not as `dropout` says.
    """
    for chunk in chunks:
        chunk.train(backward)
        for module in chunk.modules():
            if isinstance(module, (TransformerLayer, CoreAttention)):
                module.training = dropout


def _layout(batch: MicroBatch, mesh: Mesh) -> Layout:
    if batch.packed:
        return Packed(batch.lengths, batch.positions.shape[1], mesh.device)
    return Rectangle()
