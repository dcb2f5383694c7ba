"""Predicted bytes against allocated ones: weights, gradients, optimizer state, on every rank."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product

import pytest
import torch

from reft_megatron.policy import Policy
from reft_megatron.policy.plan.memory import predict_memory, stage_memory
from reft_megatron.policy.plan.weights import buffers, code_bytes, stage_chunks
from tests.policy.plan.shapes import case_of
from tests.policy.scene import LAYOUTS, ONE, Layout, open_policy
from tests.thorough import choose

BY_WORLD = {
    world: {name: layout for name, layout in LAYOUTS.items() if layout.world == world}
    for world in (2, 4)
}
PRECISIONS = ("fp32", "bf16")
SHARDED = (True, False)
BOTH = tuple(product(PRECISIONS, SHARDED))


def settings(precision: str, sharded: bool) -> tuple[str, str]:
    return f"model.precision={precision}", f"parallel.distributed_optimizer={sharded}"


@dataclass(frozen=True)
class Seen:
    """Bytes that one rank holds."""

    stage: int
    tensor: int
    weights: int
    gradients: int
    optimizer: int


def storages(tensors: Iterable[torch.Tensor]) -> dict[int, int]:
    """Bytes of the memory behind `tensors`, by address."""
    return {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors
    }


def measure(policy: Policy) -> Seen:
    parameters = [p for chunk in policy._chunks for p in chunk.parameters()]
    weights = storages(parameters)
    engine = policy._optimizer
    engine.init_state_fn(engine.optimizer)  # what the first step does
    masters = [p for group in engine.optimizer.param_groups for p in group["params"]]
    moments = [
        state[name]
        for state in engine.optimizer.state.values()
        for name in ("exp_avg", "exp_avg_sq")
    ]
    state = storages([*masters, *moments])
    return Seen(
        stage=policy.mesh.pipeline.rank,
        tensor=policy.mesh.tensor.rank,
        weights=sum(weights.values()),
        gradients=sum(storages(p.main_grad for p in parameters).values()),
        optimizer=sum(size for at, size in state.items() if at not in weights),
    )


def play_measuring(layouts: dict[str, Layout]) -> dict[tuple[str, str, bool], Seen]:
    return {
        (name, precision, sharded): measure(open_policy(layout, *settings(precision, sharded)))
        for name, layout in layouts.items()
        for precision, sharded in choose(zip(PRECISIONS, SHARDED, strict=True), BOTH)
    }


def check(ranks: list[Seen], layout: Layout, precision: str, *, sharded: bool) -> None:
    case = case_of(layout, *settings(precision, sharded), recipe="sft")
    for seen in ranks:
        wanted = stage_memory(case, seen.stage)
        assert (seen.weights, seen.gradients) == (wanted.weights, wanted.gradients)
        # A rank whose share has padding in it holds that much less.
        assert seen.optimizer <= wanted.optimizer
        replicas = [r for r in ranks if (r.stage, r.tensor) == (seen.stage, seen.tensor)]
        bare = [
            b
            for chunk in stage_chunks(case, seen.stage)
            for b in buffers(case, chunk, padded=False)
        ]
        whole = sum(b.size * (8 if b.itemsize == 4 else 12) for b in bare)
        copies = 1 if sharded else case.data
        assert sum(r.optimizer for r in replicas) == whole * copies
        padding = wanted.optimizer * len(replicas) - whole * copies
        numbers = sum(len(chunk) for chunk in stage_chunks(case, seen.stage))
        assert 0 <= padding <= (64 * numbers + 3 * 128 * case.data) * 12 * sharded


def test_ranks_that_share_a_memory_are_counted_together():
    layout = Layout(world=8, pipeline=4)
    case = case_of(layout, "model.vocab_multiple=4096")
    stages = [stage_memory(case, stage) for stage in range(4)]
    # Ranks of a stage are neighbours: on hosts of four ranks lie two stages, twice each.
    halves = [
        (mine.held + other.held) / 2 + max(mine.update + other.update,
                                           mine.generation + other.generation) / 2
        for mine, other in zip(stages[::2], stages[1::2], strict=True)
    ]  # fmt: skip
    shared = predict_memory(replace(case, sharing=4))
    assert shared.total == pytest.approx(max(halves), abs=16)
    assert predict_memory(case) == max(stages, key=lambda memory: memory.total)
    whole = predict_memory(replace(case, sharing=8))
    assert whole.weights == sum(memory.weights for memory in stages) / 4


def test_without_dev_problems_supervised_training_generates_nothing():
    assert stage_memory(case_of(recipe="sft"), 0).generation > 0
    assert stage_memory(case_of(LAYOUTS["1"], "task.dev_size=0", recipe="sft"), 0).generation == 0


@pytest.mark.megatron
@pytest.mark.parametrize("world", BY_WORLD)
def test_what_is_held_all_the_time_is_predicted_to_the_byte(ranks, world: int):
    seen = ranks(world, play_measuring, BY_WORLD[world])
    for name, precision, sharded in seen[0]:
        found = [rank[name, precision, sharded] for rank in seen]
        check(found, LAYOUTS[name], precision, sharded=sharded)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("sharded", SHARDED)
def test_so_it_is_on_one_rank(alone, precision: str, sharded: bool):
    seen = measure(open_policy(LAYOUTS["1"], *settings(precision, sharded)))
    check([seen], LAYOUTS["1"], precision, sharded=sharded)


def test_a_reference_on_the_host_is_there_only_to_score():
    at_home, away = (
        predict_memory(case_of(ONE, f"model.reference_waits={place}"))
        for place in ("device", "host")
    )
    assert (at_home.visit, away.reference) == (0, 0)
    assert away.visit == at_home.reference > 0
    assert away.held == at_home.held - at_home.reference
    assert away.total == away.held + max(away.update, away.generation, away.visit)


def test_codes_of_weights_are_there_while_they_are_used():
    bf16, rollout, fp8 = (
        stage_memory(case_of(ONE, f"model.precision={name}"), 0)
        for name in ("bf16", "fp8_rollout", "fp8")
    )
    case = case_of(ONE, "model.precision=fp8")
    rows, columns = (code_bytes(case, 0, transposed=transposed) for transposed in (False, True))
    assert [m.sampler for m in (bf16, rollout, fp8)] == [0, rows, rows]
    assert [m.codes for m in (bf16, rollout, fp8)] == [0, 0, rows + columns]
    assert [m.reference - bf16.reference for m in (rollout, fp8)] == [0, rows]
    assert rollout.generation == rollout.cache + rollout.prefill + rows
    assert fp8.update - bf16.update == rows + columns
