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

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from torch import Tensor

from reft_megatron.errors import DataError
from reft_megatron.mesh import Mesh
from reft_megatron.rollouts.batch import MicroBatch, common_shape, lay_out
from reft_megatron.rollouts.feed import MicroBatches
from reft_megatron.rollouts.packing import Plan, pack
from reft_megatron.rollouts.schema import (
    LEDGER,
    SCORES,
    field,
    from_table,
    lists,
    to_table,
    token_rows,
)
from reft_megatron.types import Rollout

__all__ = ["RolloutBuffer"]

Row = NDArray[Any] | Tensor


class RolloutBuffer:
    """One batch of rollouts on one rank of the mesh."""

    def __init__(self, mesh: Mesh, *, pad_id: int) -> None:
        self._mesh = mesh
        self._pad_id = pad_id
        self._rollouts: list[Rollout] | None = None
        self._take(to_table([]).drop_columns([*SCORES]))

    def fill(self, rollouts: pa.Table | Sequence[Rollout] | None) -> None:
        """Take a new batch in: `rollouts` of this replica on its writer, None on its other ranks.

        Rollouts, or rows of the ledger, whose scores are left out. Afterwards every rank knows the
        whole batch, in an order that does not depend on which replica sampled what. Executor faults
        must have been dropped. Collective. Raises DataError, on every rank, if a problem has two
        samples of the same number.
        """
        mesh = self._mesh
        table = rollouts if isinstance(rollouts, pa.Table | None) else to_table(rollouts)
        content = None if table is None else _to_bytes(table.drop_columns([*SCORES]))
        replica = mesh.replica.broadcast_object(content, mesh.writer_replica_rank)
        batch = pa.concat_tables(map(_from_bytes, mesh.data.gather_objects(replica)))
        batch = batch.sort_by([("problem_id", "ascending"), ("sample", "ascending")])
        _refuse_twins(batch)
        self._take(batch.combine_chunks())

    def distribute(self, *, max_tokens: int, multiple_of: int = 1) -> None:
        """Assign the batch to data ranks and micro-batches, and keep only this rank's share.

        The budget and `multiple_of` are those of `packing.pack`. Raises ConfigError if one sequence
        is longer than `max_tokens`. No rank waits for another.
        """
        data = self._mesh.data
        self._plan = pack(
            self._all_lengths, data_size=data.size, max_tokens=max_tokens, multiple_of=multiple_of
        )
        self._keep(np.array(self._plan.kept(data.rank), np.int64))

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
    def versions(self) -> NDArray[np.int64]:
        """Version of the policy that sampled each kept sequence, [B]."""
        return np.asarray(self._versions, np.int64)

    @property
    def rollouts(self) -> list[Rollout]:
        """The kept rollouts; empty but on the writer, which holds text and verdict.

        Between `fill` and `distribute` it is the whole batch, on every rank.
        """
        if self._rollouts is None:
            self._rollouts = from_table(self._table)
        return self._rollouts

    def table(self) -> pa.Table:
        """The kept rollouts as rows of `schema.LEDGER`, for the ledger, with all scores put so far.

        Empty but on the writer; between `fill` and `distribute` the whole batch, on every rank.
        """
        table = self._table
        for name, kept in SCORES.items():
            rows: list[NDArray[Any] | None] = [None] * table.num_rows
            if kept in self._rows and table.num_rows:
                rows = [row[p:] for row, p in zip(self._rows[kept], self._prompts, strict=True)]
            table = table.append_column(LEDGER.field(name), lists(rows, np.float32))
        return table.cast(LEDGER)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows of `table`, some columns of them: what a view reads (`rollouts.views`)."""
        yield from self.table().select(columns).to_batches()

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
    ) -> Sequence[MicroBatch]:
        """This rank's micro-batches with the named fields, those it does not hold left out.

        Their `indices` count the kept sequences. In a pipeline all have one shape, since stages
        exchange activations of one size; otherwise each is as small as it can be. They are laid out
        as they are used, from the rows put so far.
        """
        tokens = self.rows("tokens") if self.holds("tokens") else None
        held = {name: self.rows(name) for name in fields if self.holds(name)}
        shape = None
        if self._mesh.pipeline.size > 1:
            shape = common_shape(
                self._plan, self._all_lengths, packed=packed, length_multiple=length_multiple
            )
        plan, lengths = self._plan.data[self._mesh.data.rank], self._lengths
        kept = self._plan.kept(self._mesh.data.rank)
        place = {index: row for row, index in enumerate(kept)}

        def make(number: int) -> MicroBatch:
            return lay_out(
                [place[index] for index in plan[number]],
                lengths,
                tokens=tokens,
                fields=held,
                pad_id=self._pad_id,
                packed=packed,
                length_multiple=length_multiple,
                shape=shape,
                device=self._mesh.device,
            )

        return MicroBatches(len(plan), make)

    def for_ppo(
        self,
        fields: Sequence[str],
        *,
        policy_version: int,
        max_staleness: int,
        beyond: Literal["refuse", "mark"] = "refuse",
        packed: bool,
        length_multiple: int = 1,
    ) -> Sequence[MicroBatch]:
        """The view of PPO: `micro_batches` of rollouts that are young enough for `policy_version`.

        A rollout is as stale as the policy is optimizer steps ahead of the one that sampled it.
        `beyond` the bound it is refused with a DataError, on every rank, or marked: True in the
        field `stale`, for the loss to correct or leave out.
        """
        if beyond == "refuse":
            self.refuse_stale(policy_version=policy_version, max_staleness=max_staleness)
        if beyond == "mark":
            stale = policy_version - self._versions > max_staleness
            self.put("stale", [np.full(n, s) for n, s in zip(self._lengths, stale, strict=True)])
            fields = [*fields, "stale"]
        return self.micro_batches(fields, packed=packed, length_multiple=length_multiple)

    def refuse_stale(self, *, policy_version: int, max_staleness: int) -> None:
        """DataError, on every rank, for a rollout that is staler than `max_staleness`."""
        oldest = policy_version - int(min(self._all_versions, default=policy_version))
        if oldest > max_staleness:
            raise DataError(
                f"a rollout was sampled {oldest} optimizer steps before policy version "
                f"{policy_version}, and at most {max_staleness} are allowed. Sample anew, raise "
                "rollouts.max_staleness, or have stale rollouts marked and corrected."
            )

    def _take(self, batch: pa.Table) -> None:
        """Start over with the whole batch; nothing is distributed yet."""
        self._table = batch
        self._rollouts = None
        prompts, responses = (_lengths(batch, name) for name in ("prompt_ids", "token_ids"))
        self._all_lengths: tuple[int, ...] = tuple((prompts + responses).tolist())
        self._all_versions = batch["policy_version"].to_numpy()
        self._plan = Plan(data=((),) * self._mesh.data.size)
        self._lengths: tuple[int, ...] = ()
        self._prompts: tuple[int, ...] = ()
        self._versions = self._all_versions[:0]
        self._rewards = np.zeros(0, np.float32)
        self._rows: dict[str, list[NDArray[Any]]] = {}

    def _keep(self, kept: NDArray[np.int64]) -> None:
        """Hold this data rank's share, and of it the fields that live on this rank."""
        share = self._table.take(kept)
        prompts = _lengths(share, "prompt_ids").tolist()
        self._prompts = tuple(prompts)
        self._lengths = tuple(self._all_lengths[i] for i in kept)
        self._versions = self._all_versions[kept]
        self._rewards = share["reward"].to_numpy().astype(np.float32)
        self._table = share if self.holds("text") else share.schema.empty_table()
        self._rollouts = None
        pairs = zip(token_rows(share, "prompt_ids"), token_rows(share, "token_ids"), strict=True)
        self.put("tokens", [np.concatenate(pair) for pair in pairs])
        self.put("mask", [np.arange(n) >= p for n, p in zip(self._lengths, prompts, strict=True)])
        logprobs = zip(token_rows(share, "logprobs"), prompts, strict=True)
        self.put("sampler_logprobs", [np.pad(row, (p, 0)) for row, p in logprobs])


def _array(row: Row, dtype: type[np.generic]) -> NDArray[Any]:
    if isinstance(row, Tensor):
        row = row.detach().float().cpu().numpy() if row.is_floating_point() else row.cpu().numpy()
    return np.asarray(row).astype(dtype)


def _lengths(table: pa.Table, name: str) -> NDArray[np.int64]:
    """Entries of each row of a column of lists, [rows]."""
    return np.asarray(pc.list_value_length(table[name]).to_numpy(), np.int64)


def _refuse_twins(batch: pa.Table) -> None:
    """DataError if two rows in a row are the same sample of the same problem."""
    ids, samples = batch["problem_id"], batch["sample"].to_numpy()
    same = pc.equal(ids.slice(1), ids.slice(0, max(len(ids) - 1, 0))).to_numpy()
    if (twins := np.flatnonzero(same & (samples[1:] == samples[:-1]))).size:
        first = int(twins[0])
        raise DataError(
            f"the rollout buffer was given sample {samples[first]} of problem {ids[first]} twice, "
            f"and {twins.size - 1} more such pairs. Number the samples of a problem apart."
        )


def _to_bytes(table: pa.Table) -> bytes:
    """A table as Arrow sends it: a few long arrays, and no object of Python for each rollout."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _from_bytes(content: bytes) -> pa.Table:
    return pa.ipc.open_stream(content).read_all()
