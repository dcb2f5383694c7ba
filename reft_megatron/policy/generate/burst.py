"""Several decode steps without asking the host between them.

Owns buffers at fixed places for a lane's slots, the decode step that works on them alone, and, on a
GPU, its CUDA graphs, one for each size of batch, captured when first needed. Batches come in few
sizes, so that there are few graphs; the rows beyond those in use are idle. On a CPU the same step
runs on the same batches, only not from a graph. Sequences that end on the way are computed to the
end of the burst, for nobody; their tokens are not looked at.

For replicas without a pipeline, where a step needs nothing from another stage.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reft_megatron.mesh import Mesh
from reft_megatron.ops.sampling import Sampling, choose
from reft_megatron.policy.cache import Cache, Mixed
from reft_megatron.policy.generate.lane import Step
from reft_megatron.policy.model import PolicyModel

__all__ = ["Burst"]

_FEW, _MULTIPLE = 8, 8
"""Sizes of batch: powers of two up to the first, then multiples of the second."""


class Burst:
    """Decodes a lane's slots some steps ahead."""

    def __init__(
        self,
        chunk: PolicyModel,
        cache: Cache,
        mesh: Mesh,
        *,
        slots: int,
        steps: int,
        sampling: Sampling,
    ) -> None:
        """Up to `steps` steps of up to `slots` slots; `chunk` is the whole model."""
        self._chunk, self._cache, self._sampling = chunk, cache, sampling
        self._captures = mesh.device.type == "cuda"
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        most = self._batch(slots)

        def zeros(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=mesh.device)

        self._newest, self._positions, self._keys = zeros(most), zeros(most), zeros(most, 2)
        self._at = zeros(1)
        self._tokens, self._logprobs = zeros(steps, most), zeros(steps, most, dtype=torch.float32)

    def run(self, step: Step, count: int) -> tuple[list[list[int]], list[list[float]], int]:
        """`count` tokens for each slot of a step without pieces, and their log-probs.

        And how many tokens were computed for that.
        """
        rows = step.decoding
        batch = self._batch(rows)
        if self._captures and batch not in self._graphs:
            self._graphs[batch] = self._capture(batch)
        self._newest[:rows] = step.tokens[0]
        self._keys[:rows] = step.keys
        self._positions[:rows] = step.positions[0]
        self._positions[rows:] = -1  # idle
        self._at.zero_()
        for _ in range(count):
            if self._captures:
                self._graphs[batch].replay()
            else:
                self._advance(batch)
        tokens, logprobs = self._tokens[:count, :rows], self._logprobs[:count, :rows]
        return tokens.t().tolist(), logprobs.t().tolist(), count * batch

    def _batch(self, rows: int) -> int:
        """Rows that are computed for `rows` slots; row i is row i of the cache."""
        few = 1 << (rows - 1).bit_length()
        many = -(-rows // _MULTIPLE) * _MULTIPLE
        return min(few if rows <= _FEW else many, self._cache.rows)

    def _advance(self, batch: int) -> None:
        """One step on the buffers; reads and writes nothing but these and the cache."""
        positions, keys = self._positions[:batch], self._keys[:batch]
        fed = positions.clamp(min=0)
        logits = self._chunk(
            self._newest[None, :batch],
            fed[None],
            Mixed(self._cache, positions, decoding=batch, pieces=()),
            lambda model, hidden: model.next_logits(hidden, slice(None)),
        )
        token, logprob = choose(
            logits, keys, fed + 1, sampling=self._sampling, shard=self._chunk.shard
        )
        self._tokens[:, :batch].index_copy_(0, self._at, token[None])
        self._logprobs[:, :batch].index_copy_(0, self._at, logprob[None])
        self._newest[:batch].copy_(token)
        positions += positions >= 0
        self._at += 1

    def _capture(self, batch: int) -> torch.cuda.CUDAGraph:
        """The step as a graph. Its rehearsal runs on idle rows, which leave the cache alone."""
        self._positions.fill_(-1)
        self._at.zero_()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self._advance(batch)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        pool = next(iter(self._graphs.values())).pool() if self._graphs else None
        with torch.cuda.graph(graph, pool=pool):
            self._advance(batch)
        return graph
