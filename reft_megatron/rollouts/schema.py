"""What a rollout consists of: the fields, where they live, the ledger's row.

Owns two tables. `FIELDS` says which dtype a field has and which ranks of a replica hold it;
`LEDGER` is the Arrow schema of one rollout on disk, with the conversion both ways.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from reft_megatron.mesh import Mesh
from reft_megatron.types import Completion, Reason, Rollout, Verdict

__all__ = ["FIELDS", "LEDGER", "Field", "Place", "field", "from_table", "to_table"]


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
    "sampler_logprobs": _PER_TOKEN,
    "old_logprobs": _PER_TOKEN,
    "ref_logprobs": _PER_TOKEN,
    "old_values": _PER_TOKEN,
    "advantages": _PER_TOKEN,
    "returns": _PER_TOKEN,
    "weights": _PER_TOKEN,
}
"""The known fields by name."""

LEDGER = pa.schema(
    [
        pa.field("problem_id", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("policy_version", pa.int64(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("prompt_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("token_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("logprobs", pa.list_(pa.float32()), nullable=False),
        pa.field("finished", pa.bool_(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("letter", pa.string()),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("reward", pa.float64(), nullable=False),
    ]
)
"""One row of the ledger; the extracted answer is a `value` (number) or a `letter`, or neither."""


def field(name: str) -> Field:
    """The field of that name; one that the table lacks is a float32 per token on the last stage."""
    return FIELDS.get(name, _PER_TOKEN)


def to_table(rollouts: Sequence[Rollout]) -> pa.Table:
    """The rollouts as rows of `LEDGER`, in order."""
    return pa.Table.from_pylist([_row(rollout) for rollout in rollouts], schema=LEDGER)


def from_table(table: pa.Table) -> list[Rollout]:
    """The rollouts of a table with the schema `LEDGER`, in order."""
    return [_rollout(row) for row in table.to_pylist()]


def _row(rollout: Rollout) -> dict[str, Any]:
    completion, verdict = rollout.completion, rollout.verdict
    return {
        "problem_id": completion.problem_id,
        "sample": completion.sample,
        "policy_version": rollout.policy_version,
        "seed": rollout.seed,
        "prompt_ids": completion.prompt_ids,
        "token_ids": completion.token_ids,
        "logprobs": completion.logprobs,
        "finished": completion.finished,
        "text": rollout.text,
        "reason": verdict.reason.value,
        "value": None if isinstance(verdict.value, str) else verdict.value,
        "letter": verdict.value if isinstance(verdict.value, str) else None,
        "detail": verdict.detail,
        "reward": rollout.reward,
    }


def _rollout(row: dict[str, Any]) -> Rollout:
    completion = Completion(
        problem_id=row["problem_id"],
        sample=row["sample"],
        prompt_ids=np.array(row["prompt_ids"], np.int32),
        token_ids=np.array(row["token_ids"], np.int32),
        logprobs=np.array(row["logprobs"], np.float32),
        finished=row["finished"],
    )
    verdict = Verdict(
        reason=Reason(row["reason"]),
        value=row["value"] if row["letter"] is None else row["letter"],
        detail=row["detail"],
    )
    return Rollout(
        completion=completion,
        text=row["text"],
        verdict=verdict,
        reward=row["reward"],
        policy_version=row["policy_version"],
        seed=row["seed"],
    )
