"""Parameters counted against parameters built: every kind of model, every layout, every rank."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reft_megatron.ops.sampling import Sampling
from reft_megatron.policy import Policy, join
from reft_megatron.policy.families import find_architecture
from reft_megatron.policy.model import build_chunks
from reft_megatron.policy.plan.weights import (
    Buffer,
    Parameter,
    buffers,
    code_bytes,
    count_parameters,
    stage_chunks,
)
from tests.policy.plan.shapes import SHAPES, case_of
from tests.policy.scene import (
    LAYOUTS,
    ONE,
    PPO,
    TOKENIZER,
    VOCAB,
    Layout,
    make_batches,
    make_prompts,
)

SETTINGS = {
    "fp32": ("model.precision=fp32",),
    "bf16": ("model.precision=bf16",),
    "rerank": ("model.precision=bf16", "model.head=rerank"),
}
BY_WORLD = {
    world: {name: layout for name, layout in LAYOUTS.items() if layout.world == world}
    for world in (1, 2, 4)
}
Found = dict[tuple[str, str, str], tuple[int, list[int]]]


def play_building(layouts: dict[str, Layout]) -> Found:
    """(pipeline stage, bytes of each chunk's parameters) by layout, kind of model and settings."""
    found: Found = {}
    for name, layout in layouts.items():
        mesh = join(case_of(layout).parallel, seed=0, timeout_s=300, threads=1)
        for shape in SHAPES:
            for settings, overrides in SETTINGS.items():
                case = case_of(layout, *overrides, shape=shape)
                chunks = build_chunks(
                    case.architecture,
                    case.config.model,
                    case.parallel,
                    mesh=mesh,
                    vocab_size=VOCAB,
                )
                sizes = [sum(p.nbytes for p in chunk.parameters()) for chunk in chunks]
                found[name, shape, settings] = (mesh.pipeline.rank, sizes)
    return found


@pytest.mark.megatron
@pytest.mark.parametrize("world", BY_WORLD)
def test_every_rank_has_the_bytes_that_were_counted(ranks, world: int):
    for seen in ranks(world, play_building, BY_WORLD[world]):
        for (name, shape, settings), (stage, sizes) in seen.items():
            case = case_of(LAYOUTS[name], *SETTINGS[settings], shape=shape)
            counted = [
                sum(b.size * b.itemsize for b in buffers(case, chunk, padded=False))
                for chunk in stage_chunks(case, stage)
            ]
            assert counted == sizes, (name, shape, settings, stage)


def test_codellama_has_the_weights_of_its_published_checkpoint():
    case = replace(
        case_of(ONE, "model.vocab_multiple=1"), architecture=find_architecture("codellama-7b")
    )
    head = 4096 + 1
    assert count_parameters(case) - head == 6_738_546_688


def test_buffers_are_padded_as_the_distributed_optimizer_does():
    case = case_of(LAYOUTS["dp2"])
    chunk = [Parameter(size=65), Parameter(size=129, shared=True), Parameter(size=1, head=True)]
    assert buffers(case, chunk, padded=False) == [Buffer(size=195, itemsize=4)]
    # 65 takes 128 of its bucket, 129 takes 192 of one of its own, 1 takes 64 of the next.
    assert buffers(case, chunk, padded=True) == [Buffer(size=128 + 256 + 128, itemsize=4)]
    half = case_of(LAYOUTS["dp2"], "model.precision=bf16")
    assert buffers(half, chunk, padded=True) == [
        Buffer(size=128 + 256, itemsize=2),
        Buffer(size=128, itemsize=4),
    ]


@pytest.mark.parametrize("shape", ["opt", "bare-opt", "llama", "qwen3"])
@pytest.mark.parametrize("precision", ["fp8", "fp8_rollout"])
def test_codes_of_weights_have_the_bytes_that_were_counted(
    alone, fields, monkeypatch: pytest.MonkeyPatch, *, shape: str, precision: str
):
    """Every kind of layer samples and learns in FP8, too."""
    overrides = (f"model.precision={precision}", "fp8.last_layers_bf16=1")
    case = case_of(ONE, *overrides, "generate.max_new_tokens=3", shape=shape)
    policy = Policy(case.config, alone, TOKENIZER, total_steps=8, architecture=case.architecture)
    weights = policy.chunks[0].config.fp8_weights

    def held() -> int:
        return sum(t.nbytes for each in weights._held.values() for t in each.codes)

    rows, columns = (code_bytes(case, 0, transposed=transposed) for transposed in (False, True))
    seen = []
    policy.generate(
        make_prompts(2),
        sampling=Sampling(seed=1),
        stop=lambda *_: bool(seen.append(held())),
    )
    assert seen[-1] == rows
    monkeypatch.setattr(policy, "weights_changed", lambda: None)
    policy.update(make_batches(policy, fields), loss=PPO)
    assert held() == (rows + columns if precision == "fp8" else 0)


def test_codes_are_counted_where_their_layers_are():
    """Four layers on two stages, the first one in bf16."""
    case = case_of(LAYOUTS["pp2"], "model.precision=fp8", "fp8.first_layers_bf16=1")
    whole = code_bytes(case_of(ONE, "model.precision=fp8"), 0, transposed=False)
    assert [code_bytes(case, stage, transposed=False) for stage in (0, 1)] == [
        whole * (case.split[0] - 1) // 4,
        whole * case.split[1] // 4,
    ]
    assert code_bytes(case_of(ONE, "model.precision=bf16"), 0, transposed=True) == 0
