"""Passing inference steps through the pipeline stages of a replica.

Owns the hand-over between stages outside Megatron's training schedules, what each stage waits for
it, and the switch that turns sequence parallelism off (a step's tokens are not split by position).

Hidden states travel on groups of the device's backend, what the host knows on the object group.
Sends do not wait, so a stage goes on to the next lane while its output is under way.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from reft_megatron.mesh import Mesh
from reft_megatron.policy.model import PolicyModel

__all__ = ["Ring", "whole_sequences"]

# An embedding without learned positions splits what it gives by a switch of its own.
_SPLITTING = ("sequence_parallel", "reduce_scatter_embeddings")


class Ring:
    """The stages of a pipeline, each sending to the next and the last to the first."""

    def __init__(self, mesh: Mesh) -> None:
        self._axis, self._device = mesh.pipeline, mesh.device
        # Two stages of model chunks in turn send both ways. NCCL works off what one group has
        # between two ranks in order, so the way back takes another group.
        self._forward, self._back = mesh.pipeline.group, mesh.replica.group
        self._under_way: deque[tuple[Any, Tensor]] = deque()
        self.waited_s = 0.0
        """Seconds the host has waited for the stage before it."""

    def send_hidden(self, hidden: Tensor) -> None:
        """Send hidden states on."""
        self._send(hidden, self._back if self._axis.last else self._forward)

    def receive_hidden(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Hidden states of the stage before, on the mesh's device."""
        hidden = torch.empty(shape, dtype=dtype, device=self._device)
        return self._receive(hidden, self._back if self._axis.first else self._forward)

    def send_numbers(self, numbers: Sequence[float]) -> None:
        """Send numbers on: token ids and fp32 log-probs pass through fp64 unchanged."""
        self._send(torch.tensor(numbers, dtype=torch.float64), self._axis.object_group)

    def receive_numbers(self, count: int) -> list[float]:
        """`count` numbers of the stage before."""
        empty = torch.empty(count, dtype=torch.float64)
        return self._receive(empty, self._axis.object_group).tolist()

    def close(self) -> None:
        """Wait until everything has been sent."""
        while self._under_way:
            self._under_way.popleft()[0].wait()

    def _send(self, tensor: Tensor, group: Any) -> None:
        next_rank = self._axis.ranks[(self._axis.rank + 1) % self._axis.size]
        # The tensor must live until it is sent.
        self._under_way.append((dist.isend(tensor, next_rank, group=group), tensor))
        while self._under_way and self._under_way[0][0].is_completed():
            self._under_way.popleft()[0].wait()

    def _receive(self, tensor: Tensor, group: Any) -> Tensor:
        began = time.perf_counter()
        dist.recv(tensor, self._axis.ranks[self._axis.rank - 1], group=group)
        self.waited_s += time.perf_counter() - began
        return tensor


@contextlib.contextmanager
def whole_sequences(chunks: Sequence[PolicyModel]) -> Iterator[None]:
    """Sequence parallelism off inside the block, as it was afterwards."""
    split = [
        (part, name)
        for chunk in chunks
        for part in (chunk.config, *chunk.modules())
        for name in _SPLITTING
        if getattr(part, name, False) is True
    ]
    for part, name in split:
        setattr(part, name, False)
    try:
        yield
    finally:
        for part, name in split:
            setattr(part, name, True)
