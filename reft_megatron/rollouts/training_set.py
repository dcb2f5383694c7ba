"""Sequences to learn from, and the micro-batches made of them.

Owns weights and labels: the mean over response tokens of a batch for self-training, the mean over
sequences at their last tokens for a reranker. Knows neither how its rollouts were chosen nor the
loss.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reft_megatron.closing import Closing
from reft_megatron.mesh import Mesh
from reft_megatron.rollouts.batch import MicroBatch, common_shape, lay_out
from reft_megatron.rollouts.feed import MicroBatches
from reft_megatron.rollouts.packing import pack
from reft_megatron.rollouts.schema import field
from reft_megatron.rollouts.store import TokenStore

__all__ = ["TrainingSet"]


class TrainingSet(Closing):
    """Rollouts in a fixed order, with labels or without; a context manager that frees them.

    Legend: N sequences.
    """

    def __init__(
        self,
        store: TokenStore,
        *,
        rows: NDArray[np.int64],
        labels: NDArray[np.bool_] | None,
        finished: NDArray[np.bool_],
        problems: NDArray[np.int32],
        names: Sequence[str],
        left_out: Mapping[str, int],
    ) -> None:
        """Sequence i is row `rows[i]` of `store` and answers problem `names[problems[i]]`."""
        self._store, self._rows, self._problems = store, rows, problems
        self.names = names
        """Ids of the problems that had rollouts to choose from, also where none was chosen."""
        self.finished = finished
        """[N], True where the response ended, False where the length limit cut it."""
        self.labels = labels
        """[N], True for a right one; None in self-training, where all are."""
        self.left_out = left_out
        """How many rollouts were left out, by reason."""
        self.responses = store.lengths("token_ids")[rows]
        """[N] int64, tokens of each response."""
        self.lengths = store.lengths("prompt_ids")[rows] + self.responses
        """[N] int64, tokens of each prompt with its response."""

    def close(self) -> None:
        """Free memory and disk."""
        self._store.close()

    def __len__(self) -> int:
        return len(self._rows)

    def problem_id(self, index: int) -> str:
        """The problem that a sequence answers."""
        return str(self.names[self._problems[index]])

    def micro_batches(
        self,
        chosen: Sequence[int] | NDArray[np.int64],
        *,
        mesh: Mesh,
        pad_id: int,
        max_tokens: int,
        multiple_of: int = 1,
        packed: bool,
        length_multiple: int = 1,
    ) -> Sequence[MicroBatch]:
        """This data rank's micro-batches of a global batch, which are the sequences `chosen`.

        Every rank calls it with the same. `indices` count the entries of `chosen`. Fields, float32
        and on the last pipeline stage alone: without labels `weights`, 1 / response tokens of the
        batch at each of them; with labels `weights`, 1 / sequences of the batch at the last token
        of each, and `labels`, 1 or 0 there. Budgets are those of `packing.pack`, and so is the
        ConfigError.
        """
        picked = np.asarray(chosen, np.int64)
        lengths = self.lengths[picked].tolist()
        plan = pack(
            lengths, data_size=mesh.data.size, max_tokens=max_tokens, multiple_of=multiple_of
        )
        shape = None
        if mesh.pipeline.size > 1:
            shape = common_shape(plan, lengths, packed=packed, length_multiple=length_multiple)
        terms = len(picked) if self.labels is not None else int(self.responses[picked].sum())

        def make(number: int) -> MicroBatch:
            indices = plan.data[mesh.data.rank][number]
            here = picked[list(indices)].tolist()
            fields = [self._fields(i, 1 / terms) for i in here]
            names = self._fields_held(mesh)
            batch = lay_out(
                range(len(here)),
                [int(self.lengths[i]) for i in here],
                tokens=[self.tokens(i) for i in here] if field("tokens").place.here(mesh) else None,
                fields={name: [one[name] for one in fields] for name in names},
                pad_id=pad_id,
                packed=packed,
                length_multiple=length_multiple,
                shape=shape,
                device=mesh.device,
            )
            return dataclasses.replace(batch, indices=indices)

        return MicroBatches(plan.num_micro_batches, make)

    def tokens(self, index: int) -> NDArray[np.int32]:
        """Prompt and response of a sequence, 1-D."""
        row = int(self._rows[index])
        return np.concatenate([self._store.row(name, row) for name in ("prompt_ids", "token_ids")])

    def prompt(self, index: int) -> NDArray[np.int32]:
        """The prompt of a sequence, 1-D."""
        return self._store.row("prompt_ids", int(self._rows[index]))

    def _fields_held(self, mesh: Mesh) -> list[str]:
        names = ["weights"] if self.labels is None else ["weights", "labels"]
        return [name for name in names if field(name).place.here(mesh)]

    def _fields(self, index: int, term: float) -> dict[str, NDArray[Any]]:
        """Fields of one sequence, each of whose terms weighs `term` in the mean."""
        length = int(self.lengths[index])
        if self.labels is None:
            return {
                "weights": np.where(np.arange(length) >= length - self.responses[index], term, 0)
            }
        last = np.arange(length) == length - 1
        return {"weights": last * term, "labels": last * float(self.labels[index])}
