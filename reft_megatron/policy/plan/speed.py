"""How long each phase of a step may take: a roofline.

Owns the kinds of GPU with their peaks, the shares of them that are assumed to be reached, and the
sums. A phase takes as long as its arithmetic, its memory traffic or the host that launches its
kernels, whichever is longest, and then its messages: nothing overlaps, as in this trainer. The
figures rank layouts; none of them has been measured on a GPU yet.
"""

from __future__ import annotations

from dataclasses import dataclass

from reft_megatron.policy.plan.case import Case
from reft_megatron.policy.split import layer_weights

__all__ = ["ASSUMPTIONS", "GPUS", "Gpu", "Times", "nearest_gpu", "predict_times"]

_MATMUL, _MEMORY, _LINK = 0.4, 0.6, 0.6
_NODE, _NETWORK = 8, 50e9
_LAUNCH_S, _MESSAGE_S = 3e-4, 2e-5

ASSUMPTIONS = (
    f"{_MATMUL:.0%} of peak FLOP/s, {_MEMORY:.0%} of memory bandwidth, {_LINK:.0%} of link "
    f"bandwidth, nodes of {_NODE} GPUs with {_NETWORK / 1e9:.0f} GB/s a GPU between them, "
    f"{_LAUNCH_S * 1e3:.1f} ms of the host a layer and pass, every sequence as long as allowed"
)
"""What the times assume beside the GPU's peaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A kind of GPU, as its maker describes it."""

    name: str
    """As people call it."""
    memory: float
    """Bytes, as the name counts them; the card has some 6 % more."""
    bf16: float
    """Peak dense bf16 FLOP/s."""
    fp32: float
    """Peak fp32 FLOP/s, without TF32."""
    bandwidth: float
    """Bytes/s of its memory."""
    link: float
    """Bytes/s in one direction to the GPUs of its node."""


GPUS = {
    "a100": Gpu(
        name="A100 80GB", memory=80e9, bf16=312e12, fp32=19.5e12, bandwidth=2.04e12, link=300e9
    ),
    "h100": Gpu(
        name="H100 80GB", memory=80e9, bf16=989e12, fp32=67e12, bandwidth=3.35e12, link=450e9
    ),
    "h200": Gpu(
        name="H200 141GB", memory=141e9, bf16=989e12, fp32=67e12, bandwidth=4.8e12, link=450e9
    ),
}
"""Kinds by the name that `--gpu` takes; the SXM cards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds of one step, by phase; 0 for a phase that the recipe does not have."""

    generate: float = 0.0
    """Sampling the batch."""
    score: float = 0.0
    """Log-probs and values of the batch, by the policy and its reference."""
    update: float = 0.0
    """All optimizer steps on the batch."""

    @property
    def step(self) -> float:
        """The whole step."""
        return self.generate + self.score + self.update


def nearest_gpu(memory: float) -> Gpu:
    """The kind with a memory nearest to `memory` bytes, the newer one among those alike."""
    return min(reversed(GPUS.values()), key=lambda gpu: abs(gpu.memory - memory))


def predict_times(case: Case, gpu: Gpu) -> Times:
    """The times of one step of `case` on GPUs of that kind."""
    job = case.job
    if not job.trains:
        return Times(generate=_generate(case, gpu))
    forward, backward = _passes(case, gpu)
    parallel = case.parallel
    # A pipeline of P stages stands still for P - 1 micro-batches, or a share of them if chunked.
    turns = case.micro_batches + (parallel.pipeline - 1) / parallel.virtual_pipeline
    update = turns * (forward + backward) + _step(case, gpu)
    if not job.samples:
        return Times(update=update)
    scored = (2 if case.reference else 1) if job.scores else 0
    return Times(
        generate=_generate(case, gpu),
        score=turns * forward * scored,
        update=case.updates * update,
    )


def _passes(case: Case, gpu: Gpu) -> tuple[float, float]:
    """Seconds of the forward and the backward pass of one micro-batch on the slowest stage."""
    shape, parallel, recompute = case.architecture, case.parallel, case.config.model.recompute
    most = max(_stage_layers(case))
    products, attention = _layer_flops(case)
    again = {"none": 0.0, "selective": attention, "full": products + attention}[recompute]
    vocabulary = 2 * case.vocab_rows * parallel.tensor * shape.hidden

    def seconds(layer: float, head: float) -> float:
        work = case.tokens * _slowest(case, layer, head) / parallel.tensor
        return max(work / (_MATMUL * _peak(case, gpu)), most * _LAUNCH_S)

    size = case.tokens * shape.hidden * case.itemsize
    reduce = most * 2 * _ring(2 * size, parallel.tensor, _tensor_link(case, gpu))
    hand_on = 0.0
    if parallel.pipeline > 1:
        hop = size / case.shard / _stage_link(case, gpu) + _MESSAGE_S
        hand_on = parallel.virtual_pipeline * hop
    forward = seconds(products + attention, vocabulary) + reduce + hand_on
    # Twice the forward pass; the vocabulary's logits are computed again.
    backward = seconds(2 * (products + attention) + again, 3 * vocabulary) + hand_on
    return forward, backward + reduce * (2 if recompute == "full" else 1)


def _generate(case: Case, gpu: Gpu) -> float:
    """All sequences of one data rank, `generate.slots` at a time.

    Each stage is at work on a lane of them: a token takes as long as a lane through all stages,
    which go at the pace of the slowest.
    """
    shape, parallel, stages = case.architecture, case.parallel, case.parallel.pipeline
    layers = stages * max(_stage_layers(case))
    slots = min(case.sequences, case.config.generate.slots)
    rows = -(-slots // parallel.pipeline)
    products, attention = _layer_flops(case)
    vocabulary = 2 * case.vocab_rows * parallel.tensor * shape.hidden
    flops = stages * _slowest(case, products + attention, vocabulary) / parallel.tensor
    weights = stages * _slowest(case, products, vocabulary) / 2 / parallel.tensor * case.itemsize
    _, key, _ = case.widths
    seen = case.prompt + case.response / 2
    cache = rows * seen * 2 * key * case.itemsize * layers
    arithmetic = flops / (_MATMUL * _peak(case, gpu))
    token = max(
        rows * arithmetic,
        (weights + cache) / (_MEMORY * gpu.bandwidth),
        layers * _LAUNCH_S,
    )
    messages = 2 * layers if parallel.tensor > 1 else 0
    messages += 2 * parallel.pipeline if parallel.pipeline > 1 else 0
    prefill = case.sequences * case.prompt * arithmetic / parallel.pipeline
    rounds = case.sequences / slots
    return prefill + rounds * case.response * (token + messages * _MESSAGE_S)


def _step(case: Case, gpu: Gpu) -> float:
    """Gradients summed over the data ranks, the optimizer's step, weights handed back."""
    shape, parallel = case.architecture, case.parallel
    products, _ = _layer_flops(case)
    numbers = max(_stage_layers(case)) * products / 2 / parallel.tensor
    numbers += case.vocab_rows * shape.hidden
    link = gpu.link if parallel.tensor * case.data <= _NODE else _NETWORK
    sharded = parallel.distributed_optimizer
    # A reduce-scatter of fp32 and a gather of weights, or an all-reduce of fp32.
    moved = numbers * (4 + case.itemsize if sharded else 8)
    share = numbers / (case.data if sharded else 1)
    # Masters and moments read and written, the gradient read, the weight written.
    touched = share * (24 + 4 + case.itemsize)
    return _ring(moved, case.data, link) + touched / (_MEMORY * gpu.bandwidth)


def _stage_layers(case: Case) -> list[int]:
    return [sum(case.chunk_layers(stage)) for stage in range(case.parallel.pipeline)]


def _slowest(case: Case, layer: float, head: float) -> float:
    """Cost of the slowest stage, the last of which has `head` besides."""
    *others, last = _stage_layers(case)
    return max([layers * layer for layers in others] + [last * layer + head])


def _layer_flops(case: Case) -> tuple[float, float]:
    """FLOPs a token of one whole layer: in matrix products, in attention proper."""
    attention = case.architecture.attention
    # A token sees half of its sequence, and is multiplied twice.
    seen = 2.0 * case.length * attention.heads * attention.size
    return 2.0 * layer_weights(case.architecture), seen


def _ring(size: float, ranks: int, link: float) -> float:
    """Seconds to pass `size` bytes around `ranks` ranks."""
    return 0.0 if ranks == 1 else size * (ranks - 1) / ranks / (_LINK * link) + _MESSAGE_S


def _peak(case: Case, gpu: Gpu) -> float:
    return gpu.bf16 if case.itemsize == 2 else gpu.fp32


def _tensor_link(case: Case, gpu: Gpu) -> float:
    return gpu.link if case.parallel.tensor <= _NODE else _NETWORK


def _stage_link(case: Case, gpu: Gpu) -> float:
    """Neighbouring stages are tensor x data ranks apart."""
    within = case.world <= _NODE or case.parallel.tensor * case.data < _NODE
    return _LINK * (gpu.link if within else _NETWORK)
