"""The mesh: where this process stands among the others, as one frozen value.

Owns ranks, process groups, the few collectives the layers above need, sharing work and failing as
one. Knows nothing of Megatron: `policy.mesh` builds it. An axis of size 1 needs no process group,
so `Mesh.single()` serves every test and tool that runs in one process.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from reft_megatron.errors import ReftError

__all__ = ["Axis", "Counter", "Mesh"]

T = TypeVar("T")

_LOOK_S = 0.1
"""Seconds between two looks at who has come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One dimension of the mesh as this rank sees it."""

    rank: int = 0
    """This process's index on the axis."""
    size: int = 1
    """Number of processes on the axis."""
    ranks: tuple[int, ...] = (0,)
    """Global ranks of the processes on this axis, in axis order."""
    group: Any = None
    """torch.distributed process group; None when the size is 1."""
    object_group: Any = None
    """Group for Python objects (gloo, so that nothing passes through a GPU); None when size 1."""
    store: Any = None
    """torch.distributed store for this axis of this mesh alone; None when the size is 1."""
    _counters: Iterator[int] = field(default_factory=itertools.count, repr=False, compare=False)
    """Numbers for the counters' names."""

    @property
    def first(self) -> bool:
        """True on the first rank of the axis."""
        return self.rank == 0

    @property
    def last(self) -> bool:
        """True on the last rank of the axis."""
        return self.rank == self.size - 1

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum of `tensor` over the axis, as a new tensor on every rank (any shape, any dtype)."""
        return self._reduce(tensor, dist.ReduceOp.SUM)

    def max(self, tensor: torch.Tensor) -> torch.Tensor:
        """Element-wise maximum of `tensor` over the axis, as a new tensor on every rank."""
        return self._reduce(tensor, dist.ReduceOp.MAX)

    def _reduce(self, tensor: torch.Tensor, op: Any) -> torch.Tensor:
        out = tensor.clone()
        if self.size > 1:
            dist.all_reduce(out, op=op, group=self.group)
        return out

    def gather_objects(self, item: T) -> list[T]:
        """The `item` of every rank of the axis, in axis order, on every rank."""
        if self.size == 1:
            return [item]
        items: list[Any] = [None] * self.size
        dist.all_gather_object(items, item, group=self.object_group)
        return items

    def broadcast_object(self, item: T | None, source: int = 0) -> T:
        """The `item` of axis rank `source`, on every rank of the axis."""
        if self.size == 1:
            return cast(T, item)
        box = [item]
        dist.broadcast_object_list(box, src=self.ranks[source], group=self.object_group)
        return cast(T, box[0])

    def counter(self) -> Counter:
        """A counter that all ranks of the axis share; each calls for it in the same order."""
        return Counter(self.store, f"counter/{next(self._counters)}")

    @contextlib.contextmanager
    def together(self, *, patient: bool = False) -> Iterator[None]:
        """A block that every rank enters: if it fails on one, all leave it with an exception.

        An error of this package is raised on every rank, that of the first rank where there are
        several. Any other is raised where it happened, and on the other ranks a ReftError that
        names it. Inside, ranks may wait for each other only in another such block.

        `patient` waits for who is still in the block however long that takes, as a collective does
        not: for what one rank does alone. Who dies there is for the launcher to notice.
        """
        failure: Exception | None = None
        try:
            yield
        except Exception as error:  # whatever it is: the others wait to hear of it
            failure = error
        if failure is not None and self.size == 1:
            raise failure
        if patient:
            self._await_all()
        told = failure
        if failure is not None and not isinstance(failure, ReftError):
            told = ReftError(f"rank {self.rank}: {type(failure).__name__}: {failure}")
        said = [error for error in self.gather_objects(told) if error is not None]
        if failure is not None and told is not failure:
            raise failure
        if said:
            raise said[0] from failure

    def _await_all(self) -> None:
        come = self.counter()
        come.take(1)
        while come.take(0) < self.size:
            time.sleep(_LOOK_S)

    def share(self, items: Sequence[T], nbytes: Callable[[T], int]) -> list[T]:
        """This rank's run of `items`: about as many bytes as every other rank's.

        Neighbours stay together because they often come from one file.
        """
        total = sum(map(nbytes, items))
        mine, before = [], 0
        for item in items:
            middle = before + nbytes(item) / 2
            if min(int(middle * self.size / max(total, 1)), self.size - 1) == self.rank:
                mine.append(item)
            before += nbytes(item)
        return mine

    def barrier(self) -> None:
        """Wait until every rank of the axis has come here."""
        if self.size > 1:
            dist.barrier(group=self.object_group)


class Counter:
    """Numbers from 0 up, dealt to whoever asks first; waits for nobody."""

    def __init__(self, store: Any, name: str) -> None:
        """Shared through `store` under `name`; without a store it is this process's own."""
        self._store, self._name = store, name
        self._own = 0

    def take(self, count: int) -> int:
        """The first of the next `count` numbers, which nobody else gets."""
        if self._store is not None:
            return int(self._store.add(self._name, count)) - count
        self._own += count
        return self._own - count


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """All axes at once. A *replica* is one full copy of the model: tensor x pipeline ranks."""

    world: Axis
    """Every process of the run."""
    tensor: Axis
    """Ranks that share each layer's matrices."""
    pipeline: Axis
    """Ranks that hold consecutive layers."""
    data: Axis
    """Ranks that hold the same part of the model and see different problems."""
    replica: Axis
    """Ranks that together hold one copy of the model."""
    device: torch.device
    """Where this rank's tensors live."""

    @classmethod
    def single(cls, device: str | torch.device = "cpu") -> Mesh:
        """The mesh of one process."""
        one = Axis()
        return cls(
            world=one, tensor=one, pipeline=one, data=one, replica=one, device=torch.device(device)
        )

    @property
    def main(self) -> bool:
        """True on the one process that prints, writes logs and ledgers' manifests."""
        return self.world.first

    @property
    def writer(self) -> bool:
        """True on the one process of each replica that speaks for it: judges and writes ledgers.

        It is tensor rank 0 of the last pipeline stage, where log-probs and values live.
        """
        return self.tensor.first and self.pipeline.last

    @property
    def writer_replica_rank(self) -> int:
        """Index on the `replica` axis of the replica's writer."""
        return (self.pipeline.size - 1) * self.tensor.size
