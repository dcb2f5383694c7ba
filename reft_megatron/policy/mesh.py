"""Joining the run: from environment and layout to a `Mesh`.

Owns reading the launcher's environment (torchrun's variables), starting torch.distributed (NCCL on
GPUs, gloo on CPUs), Megatron's process groups, and the checks that a layout fits the world.
"""

from __future__ import annotations

import datetime
import functools
import gc
import os

import torch
import torch.distributed as dist
from megatron.core import parallel_state, tensor_parallel
from torch.distributed.distributed_c10d import PrefixStore

from reft_megatron.config import ParallelConfig
from reft_megatron.errors import ConfigError
from reft_megatron.mesh import Axis, Mesh
from reft_megatron.policy import device as devices

__all__ = ["check_world", "join", "leave"]


def join(parallel: ParallelConfig, *, seed: int, timeout_s: int, threads: int = 0) -> Mesh:
    """Start (or enter) the distributed run and build the mesh of `parallel`.

    Without a launcher this is a world of one. Raises ConfigError, on every rank, if the layout does
    not divide the world.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local_world = int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
    check_world(parallel, world)
    torch.set_num_threads(threads or max(1, len(os.sched_getaffinity(0)) // local_world))
    if devices.has_gpu():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    else:
        # Packed rows differ in length at every step, and oneDNN would keep a kernel for each.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")
    if dist.is_initialized():
        _forget_groups()
    else:
        _start(world, timeout_s)
    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=parallel.tensor,
        pipeline_model_parallel_size=parallel.pipeline,
        virtual_pipeline_model_parallel_size=(
            parallel.virtual_pipeline if parallel.virtual_pipeline > 1 else None
        ),
        distributed_timeout_minutes=-(-timeout_s // 60),
    )
    mesh = _mesh(parallel, world, timeout=datetime.timedelta(seconds=timeout_s))
    # Megatron itself tells tensor ranks apart; the stages and replicas must not drop alike either.
    tensor_parallel.model_parallel_cuda_manual_seed(
        seed + 100 * mesh.pipeline.rank + 10_000 * mesh.data.rank
    )
    return mesh


def leave() -> None:
    """Tear down the process groups; call once, after the last collective."""
    if dist.is_initialized():
        parallel_state.destroy_model_parallel()
        dist.destroy_process_group()


def check_world(parallel: ParallelConfig, world: int) -> None:
    """ConfigError unless tensor x pipeline divides `world` and the pieces fit together."""
    model = parallel.tensor * parallel.pipeline
    if world % model:
        raise ConfigError(
            f"parallel.tensor={parallel.tensor} x parallel.pipeline={parallel.pipeline} = {model} "
            f"must divide the number of processes, which is {world}. Start a multiple of {model} "
            "processes (torchrun --nproc-per-node) or change the layout."
        )
    if parallel.virtual_pipeline > 1 and parallel.pipeline == 1:
        raise ConfigError(
            f"parallel.virtual_pipeline={parallel.virtual_pipeline} needs parallel.pipeline > 1, "
            "which is 1. Set parallel.virtual_pipeline=1 or use more pipeline stages."
        )
    if parallel.sequence and parallel.tensor == 1:
        raise ConfigError(
            "parallel.sequence=true splits sequences over tensor-parallel ranks and needs "
            "parallel.tensor > 1, which is 1. Set parallel.sequence=false."
        )


def _start(world: int, timeout_s: int) -> None:
    backend = "cpu:gloo,cuda:nccl" if devices.has_gpu() else "gloo"
    timeout = datetime.timedelta(seconds=timeout_s)
    if world == 1:
        dist.init_process_group(
            backend,
            store=dist.HashStore(),  # type: ignore[attr-defined]  # torch does not type it
            rank=0,
            world_size=1,
            timeout=timeout,
        )
    else:
        dist.init_process_group(backend, timeout=timeout)


def _forget_groups() -> None:
    """End all groups but the world's: Megatron only forgets them, and each keeps three threads."""
    parallel_state.destroy_model_parallel()
    world = dist.distributed_c10d._get_default_group()
    for group in list(dist.distributed_c10d._world.pg_map):
        if group is not world:
            dist.destroy_process_group(group)
    gc.collect()  # models of before hold their groups, and are knots of references


def _mesh(parallel: ParallelConfig, world: int, *, timeout: datetime.timedelta) -> Mesh:
    tensor, pipeline = parallel.tensor, parallel.pipeline
    data = world // (tensor * pipeline)
    # Megatron's order: tensor ranks are neighbours, then data, then pipeline.
    grid = torch.arange(world).reshape(pipeline, data, tensor)
    state = parallel_state
    axis = functools.partial(_axis, store=_own_store(), timeout=timeout)
    return Mesh(
        world=axis("world", grid.reshape(1, -1), dist.distributed_c10d._get_default_group()),
        tensor=axis("tensor", grid.reshape(-1, tensor), state.get_tensor_model_parallel_group()),
        pipeline=axis(
            "pipeline",
            grid.permute(1, 2, 0).reshape(-1, pipeline),
            state.get_pipeline_model_parallel_group(),
        ),
        data=axis("data", grid.permute(0, 2, 1).reshape(-1, data), state.get_data_parallel_group()),
        replica=axis(
            "replica",
            grid.permute(1, 0, 2).reshape(data, -1),
            state.get_model_parallel_group(),
        ),
        device=devices.device(),
    )


def _own_store() -> PrefixStore:
    """The run's store for this mesh alone: it outlives each mesh that is joined."""
    store = dist.distributed_c10d._get_default_store()
    # All ranks join equally often, so each may count for itself.
    return PrefixStore(f"mesh {store.add(f'joined/{dist.get_rank()}', 1)}", store)


def _axis(
    name: str,
    partition: torch.Tensor,
    group: dist.ProcessGroup,
    *,
    store: PrefixStore,
    timeout: datetime.timedelta,
) -> Axis:
    """The axis whose groups are the rows of `partition`; every rank must call with all rows.

    Another axis of the same ranks has other keys in `store`.
    """
    rows = [tuple(row) for row in partition.tolist()]
    mine = next(row for row in rows if dist.get_rank() in row)
    if len(mine) == 1:
        return Axis(ranks=mine)
    objects = group
    if devices.has_gpu():
        # Objects travel on gloo, so that nothing is pickled through a GPU.
        objects, _ = dist.new_subgroups_by_enumeration(
            [list(row) for row in rows], timeout=timeout, backend="gloo"
        )
    return Axis(
        rank=mine.index(dist.get_rank()),
        size=len(mine),
        ranks=mine,
        group=group,
        object_group=objects,
        store=PrefixStore(f"{name}/{mine[0]}", store),
    )
