"""Parameters counted against parameters built: every kind of model, every layout, every rank."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reft_megatron.policy import join
from reft_megatron.policy.families import find_architecture
from reft_megatron.policy.model import build_chunks
from reft_megatron.policy.plan.weights import (
    Buffer,
    Parameter,
    buffers,
    count_parameters,
    stage_chunks,
)
from tests.policy.plan.shapes import SHAPES, case_of
from tests.policy.scene import LAYOUTS, ONE, VOCAB, Layout

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
