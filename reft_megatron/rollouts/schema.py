"""What a rollout consists of: the fields, where they live, the ledger's row.

Owns two tables. `FIELDS` says which dtype a field has and which ranks of a replica hold it;
`LEDGER` is the Arrow schema of one rollout on disk, with the conversion both ways. Columns are
built whole, never row by row.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reft_megatron.errors import DataError
from reft_megatron.mesh import Mesh
from reft_megatron.types import Completion, Reason, Rollout, Verdict

__all__ = [
    "FIELDS",
    "LEDGER",
    "SCORES",
    "Field",
    "Place",
    "field",
    "from_table",
    "lists",
    "to_table",
    "token_rows",
]


class Place(enum.Enum):
    """Which ranks of a replica hold a field."""

    EVERYWHERE = "all"
    """Every pipeline stage."""
    ENDS = "first and last"
    """The first stage, which embeds, and the last, which predicts."""
    LAST = "last"
    """The last stage, where log-probs and values are made and losses taken."""
    WRITER = "writer"
    """The one rank that speaks for the replica."""

    def here(self, mesh: Mesh) -> bool:
        """True if this rank is one of them."""
        match self:
            case Place.EVERYWHERE:
                return True
            case Place.ENDS:
                return mesh.pipeline.first or mesh.pipeline.last
            case Place.LAST:
                return mesh.pipeline.last
            case Place.WRITER:
                return mesh.writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One thing known of every rollout."""

    dtype: type[np.generic]
    """Type of its numbers; `np.object_` for what is no number."""
    place: Place
    """The ranks that hold it."""


_PER_TOKEN = Field(dtype=np.float32, place=Place.LAST)

FIELDS: dict[str, Field] = {
    # One per rollout.
    "lengths": Field(dtype=np.int64, place=Place.EVERYWHERE),
    "rewards": Field(dtype=np.float32, place=Place.EVERYWHERE),
    "text": Field(dtype=np.object_, place=Place.WRITER),
    "verdict": Field(dtype=np.object_, place=Place.WRITER),
    # One per token of prompt and response.
    "tokens": Field(dtype=np.int64, place=Place.ENDS),
    "mask": Field(dtype=np.bool_, place=Place.LAST),
    "stale": Field(dtype=np.bool_, place=Place.LAST),
    "sampler_logprobs": _PER_TOKEN,
    "old_logprobs": _PER_TOKEN,
    "ref_logprobs": _PER_TOKEN,
    "old_values": _PER_TOKEN,
    "advantages": _PER_TOKEN,
    "returns": _PER_TOKEN,
    "weights": _PER_TOKEN,
}
"""The known fields by name."""

SCORES: dict[str, str] = {
    "policy_logprobs": "old_logprobs",
    "ref_logprobs": "ref_logprobs",
    "values": "old_values",
    "advantages": "advantages",
    "returns": "returns",
}
"""Columns of the ledger that are null until a rollout is scored, and the fields they keep."""


def _list_of(type_: pa.DataType) -> pa.DataType:
    # Elements that are never null are a third faster to write.
    return pa.list_(pa.field("element", type_, nullable=False))


_IDS, _FLOATS = _list_of(pa.int32()), _list_of(pa.float32())

LEDGER = pa.schema(
    [
        pa.field("problem_id", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("policy_version", pa.int64(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("prompt_ids", _IDS, nullable=False),
        pa.field("token_ids", _IDS, nullable=False),
        pa.field("logprobs", _FLOATS, nullable=False),
        pa.field("finished", pa.bool_(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("letter", pa.string()),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("reward", pa.float64(), nullable=False),
        *(pa.field(name, _FLOATS) for name in SCORES),
    ]
)
"""One row of the ledger; the extracted answer is a `value` (number) or a `letter`, or neither.

`logprobs` are the sampler's. They and the columns of `SCORES` have one number per response token.
"""


def field(name: str) -> Field:
    """The field of that name; one that the table lacks is a float32 per token on the last stage."""
    return FIELDS.get(name, _PER_TOKEN)


def to_table(
    rollouts: Sequence[Rollout],
    scores: Mapping[str, Sequence[NDArray[np.float32] | None]] | None = None,
) -> pa.Table:
    """The rollouts as rows of `LEDGER`, in order.

    `scores` are columns of `SCORES`: for each rollout a 1-D array [T], one number per response
    token, or None. Columns not given are null. Raises DataError if a row does not fit its response.
    """
    completions = [rollout.completion for rollout in rollouts]
    verdicts = [rollout.verdict for rollout in rollouts]
    answers = [verdict.value for verdict in verdicts]
    columns: dict[str, Any] = {
        "problem_id": [c.problem_id for c in completions],
        "sample": [c.sample for c in completions],
        "policy_version": [rollout.policy_version for rollout in rollouts],
        "seed": [rollout.seed for rollout in rollouts],
        "prompt_ids": lists([c.prompt_ids for c in completions], np.int32),
        "token_ids": lists([c.token_ids for c in completions], np.int32),
        "logprobs": lists([c.logprobs for c in completions], np.float32),
        "finished": [c.finished for c in completions],
        "text": [rollout.text for rollout in rollouts],
        "reason": [verdict.reason.value for verdict in verdicts],
        "value": [None if isinstance(answer, str) else answer for answer in answers],
        "letter": [answer if isinstance(answer, str) else None for answer in answers],
        "detail": [verdict.detail for verdict in verdicts],
        "reward": [float(rollout.reward) for rollout in rollouts],
        **dict.fromkeys(SCORES, [None] * len(rollouts)),
    }
    for name, rows in (scores or {}).items():
        _check_fit(name, rows, completions)
        columns[name] = lists(rows, np.float32)
    arrays = [
        column if isinstance(column := columns[f.name], pa.Array) else pa.array(column, f.type)
        for f in LEDGER
    ]
    return pa.Table.from_arrays(arrays, schema=LEDGER)


def from_table(table: pa.Table) -> list[Rollout]:
    """The rollouts of a table with the columns of `LEDGER`, in order; scores are left out."""
    rows = {name: token_rows(table, name) for name in ("prompt_ids", "token_ids", "logprobs")}
    plain = {f.name: table[f.name].to_pylist() for f in LEDGER if not pa.types.is_list(f.type)}
    return [
        Rollout(
            completion=Completion(
                problem_id=plain["problem_id"][i],
                sample=plain["sample"][i],
                prompt_ids=rows["prompt_ids"][i],
                token_ids=rows["token_ids"][i],
                logprobs=rows["logprobs"][i],
                finished=plain["finished"][i],
            ),
            text=plain["text"][i],
            verdict=Verdict(
                reason=Reason(plain["reason"][i]),
                value=plain["value"][i] if plain["letter"][i] is None else plain["letter"][i],
                detail=plain["detail"][i],
            ),
            reward=plain["reward"][i],
            policy_version=plain["policy_version"][i],
            seed=plain["seed"][i],
        )
        for i in range(table.num_rows)
    ]


def lists(rows: Sequence[NDArray[Any] | None], dtype: type[np.generic]) -> pa.ListArray:
    """One list per row, null where it is None; of int32 or float32."""
    lengths = np.fromiter((0 if row is None else len(row) for row in rows), np.int64, len(rows))
    offsets = np.concatenate([[0], lengths.cumsum()])
    values = np.concatenate([np.zeros(0, dtype), *(row for row in rows if row is not None)])
    missing = np.fromiter((row is None for row in rows), np.bool_, len(rows))
    return pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()),
        pa.array(values.astype(dtype, copy=False)),
        type=_IDS if dtype is np.int32 else _FLOATS,
        mask=pa.array(missing) if missing.any() else None,
    )


def token_rows(table: pa.Table, name: str) -> list[Any]:
    """A column of lists as one 1-D array per row, in order; None where the ledger has none."""
    column = table[name].combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # of no chunks
        return []
    offsets = column.offsets.to_numpy().tolist()
    values = column.values.to_numpy()
    valid = column.is_valid().to_numpy(zero_copy_only=False).tolist()
    return [
        values[start:end].copy() if there else None
        for start, end, there in zip(offsets, offsets[1:], valid, strict=False)
    ]


def _check_fit(
    name: str, rows: Sequence[NDArray[np.float32] | None], completions: Sequence[Completion]
) -> None:
    if name not in SCORES:
        raise DataError(f"the ledger has no column `{name}` for scores; it has {[*SCORES]}.")
    seen = [None if row is None else row.shape for row in rows]
    wanted = [c.token_ids.shape for c in completions]
    for i, (ours, shape) in enumerate(zip(seen, wanted, strict=True)):
        if ours not in (None, shape):
            raise DataError(
                f"the row of `{name}` of rollout {i} has shape {ours}, and its response has shape "
                f"{shape}; give one number per response token."
            )
