"""Predicted activations against the tensors that autograd saves in real forward passes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from reft_megatron.mesh import Mesh
from reft_megatron.ops.sampling import Sampling
from reft_megatron.policy import join
from reft_megatron.policy.cache import Cache
from reft_megatron.policy.generate import Generator, Limits
from reft_megatron.policy.model import PolicyModel, build_chunks
from reft_megatron.policy.plan.activations import (
    cache_bytes,
    embedding_bytes,
    head_bytes,
    layer_bytes,
    prefill_bytes,
)
from reft_megatron.policy.plan.case import Case
from reft_megatron.policy.plan.memory import stage_memory
from reft_megatron.policy.schedule import run_schedule
from reft_megatron.policy.score import token_head
from reft_megatron.rollouts.batch import MicroBatch, lay_out
from reft_megatron.types import Prompt
from tests.policy.plan.peak import peak_of
from tests.policy.plan.shapes import SHAPES, case_of
from tests.policy.scene import LAYOUTS, ONE, PAD, VOCAB, Layout

E4M3, CPU = torch.float8_e4m3fn, torch.device("cpu")

RECOMPUTE = ("none", "selective", "full")
LENGTHS = (200, 120, 180, 100)
TOKENS = sum(LENGTHS)
SPREAD = len(LENGTHS) * max(LENGTHS) / TOKENS


def micro_batch(packed: bool, device: torch.device) -> MicroBatch:
    rng = np.random.default_rng(3)
    return lay_out(
        range(len(LENGTHS)),
        LENGTHS,
        tokens=[rng.integers(3, VOCAB, n, dtype=np.int32) for n in LENGTHS],
        fields={},
        pad_id=PAD,
        packed=packed,
        device=device,
    )


def settings(precision: str, recompute: str, packed: bool = True) -> tuple[str, ...]:
    return (
        f"model.precision={precision}",
        f"model.recompute={recompute}",
        f"optimizer.packing={packed}",
        f"optimizer.micro_batch_tokens={TOKENS}",
    )


class Keeper:
    """Counts the memory that autograd keeps, parameters not counted."""

    def __init__(self, chunk: PolicyModel) -> None:
        self._parameters = {p.untyped_storage().data_ptr() for p in chunk.parameters()}
        self._kept: dict[int, torch.Tensor] = {}

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        at = tensor.untyped_storage().data_ptr()
        if at not in self._parameters:
            self._kept[at] = tensor  # alive, so that nothing else comes to lie there
        return tensor

    @property
    def bytes(self) -> int:
        return sum(tensor.untyped_storage().nbytes() for tensor in self._kept.values())


def build(case: Case) -> tuple[list[PolicyModel], Mesh]:
    mesh = join(case.parallel, seed=0, timeout_s=300, threads=1)
    chunks = build_chunks(
        case.architecture, case.config.model, case.parallel, mesh=mesh, vocab_size=case.vocab
    )
    for parameter in (p for chunk in chunks for p in chunk.parameters()):
        torch.nn.init.normal_(parameter, std=0.02)
    return chunks, mesh


def measure(case: Case) -> int:
    """Bytes kept by the forward pass of one micro-batch on this rank, which has all layers."""
    (chunk,), mesh = build(case)
    batch = micro_batch(case.config.optimizer.packing, mesh.device)
    keeper, kept = Keeper(chunk), []

    def loss_of(batch: MicroBatch, output: torch.Tensor) -> tuple[torch.Tensor, None]:
        kept.append(keeper.bytes)
        return output.sum(), None

    with torch.autograd.graph.saved_tensors_hooks(keeper.keep, lambda tensor: tensor):
        run_schedule([chunk], [batch], mesh, head_of=token_head, loss_of=loss_of, dropout=False)
    return kept[0]


def predicted(case: Case) -> int:
    layers = case.architecture.layers * layer_bytes(case, case.config.model.recompute)
    return embedding_bytes(case) + layers + head_bytes(case)


@pytest.mark.parametrize(
    ("precision", "shape"),
    [*product(["fp32"], SHAPES), *product(["bf16"], ["opt", "llama", "qwen3"])],
)
@pytest.mark.parametrize("recompute", RECOMPUTE)
def test_what_is_kept_of_a_packed_micro_batch(alone, shape: str, precision: str, recompute: str):
    case = case_of(ONE, *settings(precision, recompute), shape=shape, spread=SPREAD)
    assert case.tokens == TOKENS
    assert predicted(case) == pytest.approx(measure(case), rel=0.05)


@pytest.mark.parametrize("shape", ["opt", "llama"])
@pytest.mark.parametrize("recompute", RECOMPUTE)
def test_what_is_kept_of_a_rectangle(alone, shape: str, recompute: str):
    case = case_of(ONE, *settings("fp32", recompute, False), shape=shape, spread=SPREAD)
    assert case.tokens == len(LENGTHS) * max(LENGTHS)
    assert predicted(case) == pytest.approx(measure(case), rel=0.05)


def play_forward(layout: Layout) -> dict[tuple[str, str], int]:
    return {
        (shape, recompute): measure(case_of(layout, *settings("fp32", recompute), shape=shape))
        for shape, recompute in product(("opt", "llama"), RECOMPUTE)
    }


@pytest.mark.megatron
def test_what_is_kept_on_one_of_two_tensor_ranks(ranks):
    layout = LAYOUTS["tp2"]
    for (shape, recompute), kept in ranks(2, play_forward, layout)[1].items():
        case = case_of(layout, *settings("fp32", recompute), shape=shape, spread=SPREAD)
        assert predicted(case) == pytest.approx(kept, rel=0.05), (shape, recompute)


# ---------------------------------------------------------------- the worst moment

LARGE = 20_000
"""Ids of a vocabulary whose logits outweigh one layer of the small models."""


def peak_of_update(case: Case) -> tuple[int, int]:
    """(this rank's pipeline stage, bytes it held at the worst moment of an update)."""
    chunks, mesh = build(case)
    batches = [micro_batch(True, mesh.device)] * case.micro_batches
    chunks[0].config.finalize_model_grads_func = lambda *args, **kwargs: None
    for parameter in (p for chunk in chunks for p in chunk.parameters()):
        # As data-parallel wrapping does: gradients go to a buffer that is there already.
        parameter.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None))

    def update() -> None:
        run_schedule(
            chunks,
            batches,
            mesh,
            head_of=token_head,
            loss_of=lambda batch, output: (output.sum(), None),
            dropout=False,
        )

    return mesh.pipeline.rank, peak_of(update)


@pytest.mark.parametrize(("shape", "vocab"), [("opt", VOCAB), ("llama", LARGE)])
@pytest.mark.parametrize("recompute", RECOMPUTE)
def test_the_peak_of_an_update(alone, shape: str, recompute: str, vocab: int):
    asked = (*settings("fp32", recompute), "ppo.batch_size=1")
    case = case_of(ONE, *asked, shape=shape, spread=SPREAD, vocab=vocab)
    _, peak = peak_of_update(case)
    assert stage_memory(case, 0).update == pytest.approx(peak, rel=0.15)


PIPELINES = {"plain": LAYOUTS["pp2"], "interleaved": LAYOUTS["pp2-vpp2"]}


def in_pipeline(schedule: str, recompute: str) -> Case:
    """Four micro-batches through two stages."""
    whole = ("ppo.batch_size=4", f"generate.max_prompt_tokens={TOKENS}")
    return case_of(
        PIPELINES[schedule], *settings("fp32", recompute), *whole, shape="opt", spread=SPREAD
    )


def play_pipelines() -> dict[tuple[str, str], tuple[int, int]]:
    return {asked: peak_of_update(in_pipeline(*asked)) for asked in product(PIPELINES, RECOMPUTE)}


@pytest.mark.megatron
def test_the_peak_of_each_stage_of_a_pipeline(ranks):
    for seen in ranks(2, play_pipelines):
        for asked, (stage, peak) in seen.items():
            case = in_pipeline(*asked)
            assert case.micro_batches == 4
            update = stage_memory(case, stage).update
            assert update == pytest.approx(peak, rel=0.15), (asked, stage)


@pytest.mark.parametrize(
    ("shape", "vocab", "asked"), [("llama", VOCAB, 20), ("opt", LARGE, 16), ("llama", VOCAB, 6)]
)
def test_the_peak_of_generation(alone, shape: str, vocab: int, asked: int):
    """Of as many prompts as there are slots, of more and of fewer."""
    room = ("generate.slots=16", "generate.max_prompt_tokens=100", "generate.max_new_tokens=40")
    case = case_of(ONE, *room, f"task.dev_size={asked}", recipe="sft", shape=shape, vocab=vocab)
    (chunk,), mesh = build(case)
    prompts = [
        Prompt(problem_id=str(i), token_ids=np.arange(3, 83, 0.8).astype(np.int32))
        for i in range(asked)
    ]
    assert {len(prompt.token_ids) for prompt in prompts} == {case.prompt}

    def generate() -> None:
        Generator([chunk], mesh, eos_id=2).run(
            prompts,
            sampling=Sampling(),
            limits=Limits(max_new_tokens=40, slots=16, prefill_tokens=512),
        )

    cache = case.architecture.layers * cache_bytes(case)
    assert cache + prefill_bytes(case) == pytest.approx(peak_of(generate), rel=0.15)


def test_an_fp8_cache_is_codes_and_scales():
    bf16, fp8, kept = (
        case_of(ONE, *overrides)
        for overrides in (
            ("model.precision=bf16",),
            ("model.precision=fp8_rollout",),
            ("model.precision=fp8_rollout", "fp8.cache=false"),
        )
    )
    cache = Cache([1], rows=2, positions=5, heads=4, size=24, dtype=E4M3, device=CPU)
    token = sum(x[0, :, 0].nbytes for x in (*cache.layer(1), *cache.scales(1)))
    assert cache_bytes(fp8) * 2 * 96 * 2 == cache_bytes(bf16) * token
    assert cache_bytes(kept) == cache_bytes(bf16)
