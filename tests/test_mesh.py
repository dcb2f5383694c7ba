"""The mesh: one process, and four real ranks."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from reft_megatron.config import ParallelConfig
from reft_megatron.errors import CheckpointError, ConfigError
from reft_megatron.mesh import Axis, Mesh
from reft_megatron.policy import join


def test_one_process_is_everything():
    mesh = Mesh.single()
    assert mesh.main
    assert mesh.writer
    assert mesh.writer_replica_rank == 0
    assert mesh.device == torch.device("cpu")
    assert {mesh.world, mesh.tensor, mesh.pipeline, mesh.data, mesh.replica} == {Axis()}


def test_an_axis_of_one_needs_no_group():
    axis = Axis()
    numbers = torch.tensor([1.0, 2.0])
    for out in (axis.sum(numbers), axis.max(numbers)):
        assert out.tolist() == [1.0, 2.0]
        assert out is not numbers
    assert axis.gather_objects("me") == ["me"]
    assert axis.broadcast_object("me") == "me"
    axis.barrier()
    assert (axis.first, axis.last) == (True, True)


def play_collectives(tensor: int, pipeline: int) -> dict[str, Any]:
    """What a rank sees of every axis."""
    parallel = ParallelConfig(tensor=tensor, pipeline=pipeline)
    mesh = join(parallel, seed=0, timeout_s=300, threads=1)
    me = mesh.world.rank
    number = torch.tensor([me, 10 - me])
    seen: dict[str, Any] = {}
    for name in ("world", "tensor", "pipeline", "data", "replica"):
        axis = getattr(mesh, name)
        axis.barrier()
        seen[name] = {
            "ranks": axis.ranks,
            "rank": axis.rank,
            "sum": axis.sum(number).tolist(),
            "max": axis.max(number).tolist(),
            "gathered": axis.gather_objects({"rank": me}),
            "from_last": axis.broadcast_object(me, axis.size - 1),
            "ends": (axis.first, axis.last),
        }
    seen["number"] = number.tolist()
    seen["roles"] = (mesh.main, mesh.writer, mesh.replica.ranks[mesh.writer_replica_rank])
    return seen


@pytest.mark.megatron
@pytest.mark.parametrize(
    ("tensor", "pipeline", "groups", "writers"),
    [
        (
            2,
            2,
            {
                "world": [(0, 1, 2, 3)],
                "tensor": [(0, 1), (2, 3)],
                "pipeline": [(0, 2), (1, 3)],
                "data": [(0,), (1,), (2,), (3,)],
                "replica": [(0, 1, 2, 3)],
            },
            [2],
        ),
        (
            2,
            1,
            {
                "world": [(0, 1, 2, 3)],
                "tensor": [(0, 1), (2, 3)],
                "pipeline": [(0,), (1,), (2,), (3,)],
                "data": [(0, 2), (1, 3)],
                "replica": [(0, 1), (2, 3)],
            },
            [0, 2],
        ),
        (
            1,
            2,
            {
                "world": [(0, 1, 2, 3)],
                "tensor": [(0,), (1,), (2,), (3,)],
                "pipeline": [(0, 2), (1, 3)],
                "data": [(0, 1), (2, 3)],
                "replica": [(0, 2), (1, 3)],
            },
            [2, 3],
        ),
    ],
    ids=["tp2-pp2", "tp2-dp2", "pp2-dp2"],
)
def test_every_axis_reduces_over_its_own_ranks(ranks, tensor, pipeline, groups, writers):
    everyone = ranks(4, play_collectives, tensor, pipeline)
    for me, seen in enumerate(everyone):
        for name, partition in groups.items():
            mine = next(group for group in partition if me in group)
            assert seen[name] == {
                "ranks": mine,
                "rank": mine.index(me),
                "sum": [sum(mine), sum(10 - r for r in mine)],
                "max": [max(mine), 10 - min(mine)],
                "gathered": [{"rank": r} for r in mine],
                "from_last": mine[-1],
                "ends": (me == mine[0], me == mine[-1]),
            }
        assert seen["number"] == [me, 10 - me], "a reduction leaves its argument alone"
        main, writer, spokesman = seen["roles"]
        assert main == (me == 0)
        assert writer == (me in writers)
        assert spokesman in writers


# ---------------------------------------------------------------- work and failures are shared


@pytest.mark.parametrize("size", [1, 2, 3])
def test_ranks_share_items_by_their_bytes(size: int):
    sizes = [100, 1, 1, 1, 97, 40, 60, 0]
    axes = [Axis(rank=rank, size=size, ranks=tuple(range(size))) for rank in range(size)]
    shares = [axis.share(list(enumerate(sizes)), lambda item: item[1]) for axis in axes]
    assert [item for share in shares for item in share] == list(enumerate(sizes))
    assert [sum(nbytes for _, nbytes in share) for share in shares] == {
        1: [300],
        2: [103, 197],
        3: [100, 100, 100],
    }[size]


def test_items_without_bytes_are_shared_too():
    assert [Axis(rank=r, size=2, ranks=(0, 1)).share("ab", lambda _: 0) for r in (0, 1)] == [
        ["a", "b"],
        [],
    ]
    assert Axis().share([], lambda _: 1) == []


def play_patience() -> bool:
    """Of two ranks, the first stays in the block until the other waits, and not in a collective."""
    world = join(ParallelConfig(), seed=0, timeout_s=300, threads=1).world
    with world.together(patient=True):
        while world.first and world.store.add("counter/0", 0) < 1:
            time.sleep(0.01)
    return True


@pytest.mark.megatron
def test_who_waits_for_one_that_is_long_waits_outside_of_collectives(ranks):
    """There the backend's limit of time would end it."""
    assert ranks(2, play_patience) == [True, True]


def play_failures() -> list[tuple[str, str]]:
    """What leaves a block in which some ranks of two failed, in three ways."""
    world = join(ParallelConfig(), seed=0, timeout_s=300, threads=1).world
    cases: list[dict[int, Exception]] = [
        {},
        {1: CheckpointError("no such folder")},
        {0: CheckpointError("first"), 1: ConfigError("second")},
        {1: KeyError("a bug")},
    ]
    seen = []
    for case in cases:
        try:
            with world.together():
                if world.rank in case:
                    raise case[world.rank]
            seen.append(("", ""))
        except Exception as error:
            seen.append((type(error).__name__, str(error)))
    return seen


@pytest.mark.megatron
def test_what_fails_on_one_rank_fails_on_all(ranks):
    first, second = ranks(2, play_failures)
    assert (
        first[:3]
        == second[:3]
        == [
            ("", ""),
            ("CheckpointError", "no such folder"),
            ("CheckpointError", "first"),
        ]
    )
    assert first[3] == ("ReftError", "rank 1: KeyError: 'a bug'")
    assert second[3] == ("KeyError", "'a bug'")
