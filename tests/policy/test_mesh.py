"""Joining a run: layouts that fit, and those that are refused on every rank."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
import torch.distributed as dist
from megatron.core import parallel_state

from reft_megatron.config import ParallelConfig
from reft_megatron.errors import ConfigError
from reft_megatron.policy import join, leave
from reft_megatron.policy.mesh import check_world

DOES_NOT_DIVIDE = (
    "parallel.tensor=3 x parallel.pipeline=1 = 3 must divide the number of processes, which is 2. "
    "Start a multiple of 3 processes (torchrun --nproc-per-node) or change the layout."
)


def test_layouts_that_cannot_be_are_refused():
    with pytest.raises(ConfigError) as caught:
        check_world(ParallelConfig(tensor=3), 2)
    assert str(caught.value) == DOES_NOT_DIVIDE
    with pytest.raises(ConfigError) as caught:
        check_world(ParallelConfig(virtual_pipeline=2), 2)
    assert str(caught.value) == (
        "parallel.virtual_pipeline=2 needs parallel.pipeline > 1, which is 1. "
        "Set parallel.virtual_pipeline=1 or use more pipeline stages."
    )
    with pytest.raises(ConfigError) as caught:
        check_world(ParallelConfig(sequence=True), 2)
    assert str(caught.value) == (
        "parallel.sequence=true splits sequences over tensor-parallel ranks and needs "
        "parallel.tensor > 1, which is 1. Set parallel.sequence=false."
    )


def play_layouts() -> list[Any]:
    """One life of a rank: a layout that does not fit, three that do, and the end."""
    seen: list[Any] = []
    try:
        join(ParallelConfig(tensor=3), seed=0, timeout_s=300, threads=1)
    except ConfigError as error:
        seen.append((str(error), dist.is_initialized()))
    for parallel in (ParallelConfig(tensor=2), ParallelConfig(pipeline=2), ParallelConfig()):
        mesh = join(parallel, seed=0, timeout_s=300, threads=1)
        axes = {name: getattr(mesh, name) for name in ("tensor", "pipeline", "data")}
        engine = (
            parallel_state.get_tensor_model_parallel_rank(),
            parallel_state.get_pipeline_model_parallel_rank(),
            parallel_state.get_data_parallel_rank(),
        )
        assert engine == tuple(axis.rank for axis in axes.values())
        total = mesh.world.sum(torch.ones(())).item()
        # Tensor ranks draw alike what they hold in common; stages and replicas drop differently.
        drawn = mesh.world.gather_objects(torch.rand(()).item())
        assert (len(set(drawn)) == 1) == (mesh.tensor.size == 2)
        seen.append(({name: axis.ranks for name, axis in axes.items()}, total))
    threads = []
    for _ in range(3):
        join(ParallelConfig(), seed=0, timeout_s=300, threads=1)
        threads.append(len(os.listdir("/proc/self/task")))
    assert threads[0] == threads[2], "each group of the engine has threads"
    seen.append(torch.get_num_threads())
    leave()
    leave()
    seen.append(dist.is_initialized())
    return seen


@pytest.mark.megatron
def test_a_rank_may_be_refused_join_again_and_leave(ranks):
    both = ranks(2, play_layouts)
    for me, seen in enumerate(both):
        own = (me,)
        assert seen == [
            (DOES_NOT_DIVIDE, False),
            ({"tensor": (0, 1), "pipeline": own, "data": own}, 2.0),
            ({"tensor": own, "pipeline": (0, 1), "data": own}, 2.0),
            ({"tensor": own, "pipeline": own, "data": (0, 1)}, 2.0),
            1,
            False,
        ]


def play_counters() -> list[tuple[int, ...]]:
    """What this rank takes of three counters in each of two meshes of the same ranks."""
    taken = []
    for _ in range(2):
        mesh = join(ParallelConfig(), seed=0, timeout_s=300, threads=1)
        assert mesh.world.ranks == mesh.data.ranks
        counters = mesh.world.counter(), mesh.data.counter(), mesh.data.counter()
        taken.append(tuple(counter.take(1) for counter in counters))
        mesh.world.barrier()
    return taken


@pytest.mark.megatron
def test_counters_of_another_axis_or_of_a_mesh_before_are_others(ranks):
    one, other = ranks(2, play_counters)
    for mine, theirs in zip(one, other, strict=True):
        assert [{a, b} for a, b in zip(mine, theirs, strict=True)] == [{0, 1}] * 3
