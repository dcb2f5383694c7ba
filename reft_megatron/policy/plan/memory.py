"""How much memory each rank needs, item by item.

Owns the sums. Weights, gradients and optimizer state follow from the parameters exactly;
activations are what autograd keeps, tensor by tensor (`plan.activations`). What one operation holds
for a moment is counted where it is large: logits, a prefill, the layer at hand. What CUDA, NCCL and
fragmentation take is not counted here.

Not everything is there at once. Generation, update and the visit of a reference that waits on the
host come one after the other, so the total counts the largest of the three. (The optimizer's step
needs next to nothing beside its state.) Where ranks share one memory, the mean over them counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from reft_megatron.policy.plan.activations import (
    backward_bytes,
    cache_bytes,
    embedding_bytes,
    head_bytes,
    hidden_bytes,
    layer_bytes,
    logits_bytes,
    prefill_bytes,
)
from reft_megatron.policy.plan.case import Case
from reft_megatron.policy.plan.weights import Buffer, buffers, code_bytes, stage_chunks

__all__ = ["Memory", "predict_memory", "stage_memory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes on one rank, by item."""

    weights: int
    """The model that learns, or answers."""
    gradients: int = 0
    """Gradient buffers, fp32."""
    optimizer: int = 0
    """fp32 masters of bf16 weights, and Adam's two moments."""
    reference: int = 0
    """The frozen model, where it stays on the device."""
    visit: int = 0
    """Scoring: the frozen model, where it waits on the host; less than an update takes, mostly."""
    activations: int = 0
    """Update: kept for the backward passes of the micro-batches in flight."""
    layer: int = 0
    """Update: for a moment, what the backward pass of one layer has at hand."""
    logits: int = 0
    """Update: for a moment, fp32 logits of a chunk of tokens and the vocabulary's gradient."""
    codes: int = 0
    """Update in FP8: codes of the weights, and of their transposes."""
    cache: int = 0
    """Generation: keys and values of all that is generated and read at once."""
    prefill: int = 0
    """Generation: one layer's hidden states of a step, or logits to draw from."""
    sampler: int = 0
    """Generation in FP8: codes of the weights."""

    @property
    def held(self) -> int:
        """What is there all the time."""
        return self.weights + self.gradients + self.optimizer + self.reference

    @property
    def update(self) -> int:
        """What an update adds."""
        return self.activations + max(self.layer, self.logits) + self.codes

    @property
    def generation(self) -> int:
        """What generation adds."""
        return self.cache + self.prefill + self.sampler

    @property
    def total(self) -> int:
        """What is there at the worst moment."""
        return self.held + max(self.update, self.generation, self.visit)


def predict_memory(case: Case) -> Memory:
    """The memory of the rank that needs most; of the mean rank of those that share one memory."""
    pipeline = case.parallel.pipeline
    by_stage = [stage_memory(case, stage) for stage in range(pipeline)]
    stages = [rank * pipeline // case.world for rank in range(case.world)]
    together = {tuple(stages[i : i + case.sharing]) for i in range(0, case.world, case.sharing)}
    means = (_mean([by_stage[stage] for stage in group]) for group in sorted(together))
    return max(means, key=lambda memory: memory.total)


def stage_memory(case: Case, stage: int) -> Memory:
    """The memory of a rank of pipeline stage `stage`, counted from 0."""
    chunks = stage_chunks(case, stage)
    bare = [b for chunk in chunks for b in buffers(case, chunk, padded=False)]
    layers = sum(case.chunk_layers(stage))
    codes = code_bytes(case, stage, transposed=False)
    generation = {
        "cache": layers * cache_bytes(case),
        "prefill": prefill_bytes(case),
        "sampler": codes if case.rows else 0,
    }
    if not case.job.trains:
        return Memory(weights=_weights(bare), **generation)
    always = case.config.model.precision == "fp8"
    sharded = case.parallel.distributed_optimizer
    held = [b for chunk in chunks for b in buffers(case, chunk, padded=sharded)]
    last = stage == case.parallel.pipeline - 1
    place = "reference" if case.config.model.reference_waits == "device" else "visit"
    return Memory(
        weights=_weights(held),
        gradients=4 * sum(b.size for b in held),
        optimizer=sum(_state(b, ranks=case.data if sharded else 1) for b in held),
        **{place: _weights(bare) + always * codes if case.reference else 0},
        activations=_kept(case, stage),
        layer=backward_bytes(case),
        logits=logits_bytes(case) if last else 0,
        codes=always * (codes + code_bytes(case, stage, transposed=True)),
        **generation,
    )


def _mean(memories: Sequence[Memory]) -> Memory:
    names = [field.name for field in fields(Memory)]
    sums = {name: sum(getattr(memory, name) for memory in memories) for name in names}
    return Memory(**{name: math.ceil(size / len(memories)) for name, size in sums.items()})


def _weights(held: Sequence[Buffer]) -> int:
    return sum(b.size * b.itemsize for b in held)


def _state(buffer: Buffer, *, ranks: int) -> int:
    """Optimizer state of one rank's share; ranks whose share has padding hold a little less."""
    master = 0 if buffer.itemsize == 4 else 4
    return math.ceil(buffer.size / ranks) * (master + 8)


def _kept(case: Case, stage: int) -> int:
    recompute, pipeline = case.config.model.recompute, case.parallel.pipeline
    flights = case.in_flight(stage)
    # The chunks of a stage have as many layers each.
    kept = case.chunk_layers(stage)[0] * layer_bytes(case, recompute)
    if pipeline > 1:
        kept += hidden_bytes(case)  # what was sent on
    found = flights * kept
    if stage == 0:
        found += flights * embedding_bytes(case)
    if stage == pipeline - 1:
        found += head_bytes(case)
    return found
