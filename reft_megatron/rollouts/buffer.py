"""The rollout buffer: one batch of rollouts, spread over the mesh.

Owns who holds what between sampling and update. A rollout lives on one data rank; inside that
replica each field lives on the stages that use it (`schema.FIELDS`). Knows no loss: the learner
reads padded arrays [B, T] and puts its results back as rows.

Every rank calls every method in the same order, once per batch:
`fill`, `distribute`, then `micro_batches`, `padded`, `put` as often as wanted. Where `holds(name)`
is False on this rank, `put` drops that field and reading it fails.

Legend: B sequences kept by this data rank, T tokens of the longest of them, prompt included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from reft_megatron.errors import DataError
from reft_megatron.mesh import Mesh
from reft_megatron.rollouts.batch import MicroBatch, common_shape, lay_out
from reft_megatron.rollouts.packing import Plan, pack
from reft_megatron.rollouts.schema import field
from reft_megatron.types import Rollout

__all__ = ["RolloutBuffer"]

Row = NDArray[Any] | Tensor


class RolloutBuffer:
    """One batch of rollouts on one rank of the mesh."""

    def __init__(self, mesh: Mesh, *, pad_id: int) -> None:
        self._mesh = mesh
        self._pad_id = pad_id
        self._take([])

    def fill(self, rollouts: Sequence[Rollout] | None) -> None:
        """Take a new batch in: `rollouts` of this replica on its writer, None on its other ranks.

        Afterwards every rank knows the whole batch, in an order that does not depend on which
        replica sampled what. Executor faults must have been dropped. Collective.
        """
        mesh = self._mesh
        replica = mesh.replica.broadcast_object(rollouts, mesh.writer_replica_rank)
        batch = [rollout for part in mesh.data.gather_objects(replica) for rollout in part]
        self._take(sorted(batch, key=lambda r: (r.completion.problem_id, r.completion.sample)))

    def distribute(self, *, max_tokens: int, multiple_of: int = 1) -> None:
        """Assign the batch to data ranks and micro-batches, and keep only this rank's share.

        The budget and `multiple_of` are those of `packing.pack`. Raises ConfigError if one sequence
        is longer than `max_tokens`. No rank waits for another.
        """
        data = self._mesh.data
        self._plan = pack(
            self._all_lengths, data_size=data.size, max_tokens=max_tokens, multiple_of=multiple_of
        )
        self._keep([self._rollouts[i] for i in self._plan.kept(data.rank)])

    @property
    def num_sequences(self) -> int:
        """Sequences of the whole batch, over all data ranks: the normaliser of a mean over them."""
        return len(self._all_lengths)

    @property
    def num_tokens(self) -> int:
        """Tokens of prompts and responses in the whole batch, over all data ranks."""
        return sum(self._all_lengths)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each kept sequence, prompt and response, [B]."""
        return self._lengths

    @property
    def rewards(self) -> NDArray[np.float32]:
        """Reward of each kept sequence, [B]."""
        return self._rewards

    @property
    def rollouts(self) -> list[Rollout]:
        """The kept rollouts, for the ledger; empty but on the writer, which holds text and verdict.

        Between `fill` and `distribute` it is the whole batch, on every rank.
        """
        return self._rollouts

    @property
    def mask(self) -> Tensor:
        """[B, T] bool on the mesh's device: True on response tokens."""
        return self.padded("mask")

    def holds(self, name: str) -> bool:
        """True if the field lives on this rank."""
        return field(name).place.here(self._mesh)

    def put(self, name: str, rows: Sequence[Row] | Tensor | None) -> None:
        """Keep a field: one 1-D array per kept sequence, in order, one number per token.

        A padded tensor [B, T], as `padded` makes them, is cut to the lengths. On a rank that does
        not hold the field, `rows` is not looked at and may be None. Raises DataError if the rows
        do not fit the sequences.
        """
        if not self.holds(name):
            return
        if isinstance(rows, Tensor):
            rows = [row[:n] for row, n in zip(rows, self._lengths, strict=True)]
        arrays = [_array(row, field(name).dtype) for row in rows or ()]
        shapes = [array.shape for array in arrays]
        if shapes != [(n,) for n in self._lengths]:
            raise DataError(
                f"rows of `{name}` have shapes {shapes}, and the sequences this rank keeps have "
                f"lengths {list(self._lengths)}; put one 1-D row per kept sequence, in order."
            )
        self._rows[name] = arrays

    def rows(self, name: str) -> list[NDArray[Any]]:
        """A field as one 1-D array per kept sequence, in order.

        Raises DataError if it does not live on this rank or was not put since the last batch.
        """
        if name not in self._rows:
            raise DataError(
                f"the rollout buffer has no `{name}` here, only {sorted(self._rows)}; it lives on "
                f"this place of the pipeline: {field(name).place.value}; put it after `distribute`."
            )
        return self._rows[name]

    def padded(self, name: str) -> Tensor:
        """A field as [B, T] on the mesh's device, 0 or False after the end of each sequence."""
        rows = self.rows(name)
        rectangle = lay_out(
            range(len(rows)),
            self._lengths,
            tokens=None,
            fields={name: rows},
            pad_id=self._pad_id,
            packed=False,
            shape=(len(rows), max(self._lengths, default=0)),
            device=self._mesh.device,
        )
        return rectangle.fields[name]

    def micro_batches(
        self, fields: Sequence[str], *, packed: bool, length_multiple: int = 1
    ) -> list[MicroBatch]:
        """This rank's micro-batches with the named fields, those it does not hold left out.

        Their `indices` count the kept sequences. In a pipeline all have one shape, since stages
        exchange activations of one size; otherwise each is as small as it can be.
        """
        tokens = self.rows("tokens") if self.holds("tokens") else None
        held = {name: self.rows(name) for name in fields if self.holds(name)}
        shape = None
        if self._mesh.pipeline.size > 1:
            shape = common_shape(
                self._plan, self._all_lengths, packed=packed, length_multiple=length_multiple
            )
        kept = self._plan.kept(self._mesh.data.rank)
        place = {index: row for row, index in enumerate(kept)}
        return [
            lay_out(
                [place[index] for index in batch],
                self._lengths,
                tokens=tokens,
                fields=held,
                pad_id=self._pad_id,
                packed=packed,
                length_multiple=length_multiple,
                shape=shape,
                device=self._mesh.device,
            )
            for batch in self._plan.data[self._mesh.data.rank]
        ]

    def _take(self, batch: list[Rollout]) -> None:
        """Start over with the whole batch; nothing is distributed yet."""
        self._rollouts = batch
        self._all_lengths = tuple(rollout.completion.length for rollout in batch)
        self._plan = Plan(data=((),) * self._mesh.data.size)
        self._lengths: tuple[int, ...] = ()
        self._rewards = np.zeros(0, np.float32)
        self._rows: dict[str, list[NDArray[Any]]] = {}

    def _keep(self, kept: list[Rollout]) -> None:
        """Hold this data rank's share, and of it the fields that live on this rank."""
        completions = [rollout.completion for rollout in kept]
        prompts = [len(c.prompt_ids) for c in completions]
        self._lengths = tuple(c.length for c in completions)
        self._rewards = np.array([rollout.reward for rollout in kept], np.float32)
        self._rollouts = kept if self.holds("text") else []
        self.put("tokens", [np.concatenate([c.prompt_ids, c.token_ids]) for c in completions])
        self.put("mask", [np.arange(n) >= p for n, p in zip(self._lengths, prompts, strict=True)])
        self.put(
            "sampler_logprobs",
            [np.pad(c.logprobs, (p, 0)) for c, p in zip(completions, prompts, strict=True)],
        )


def _array(row: Row, dtype: type[np.generic]) -> NDArray[Any]:
    if isinstance(row, Tensor):
        row = row.detach().float().cpu().numpy() if row.is_floating_point() else row.cpu().numpy()
    return np.asarray(row).astype(dtype)
