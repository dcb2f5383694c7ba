from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import torch

from reft_megatron.errors import DataError
from reft_megatron.mesh import Axis, Mesh
from reft_megatron.rollouts.schema import (
    FIELDS,
    LEDGER,
    SCORES,
    Place,
    field,
    from_table,
    to_table,
    token_rows,
)
from reft_megatron.types import Completion, Reason, Rollout, Verdict


def _rollout(verdict: Verdict) -> Rollout:
    return Rollout(
        completion=Completion(
            problem_id="mathqa-numeric_7",
            sample=3,
            prompt_ids=np.array([4, 5], np.int32),
            token_ids=np.array([6, 7, 2], np.int32),
            logprobs=np.array([-0.1, -2.5, -1e-7], np.float32),
            finished=True,
        ),
        text='def f():\n    return "\u00bd\0"',
        verdict=verdict,
        reward=0.1,
        policy_version=12,
        seed=2**40,
    )


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(reason=Reason.WRONG_VALUE, value=1 / 3),
        Verdict(reason=Reason.CORRECT, value="c"),
        Verdict(reason=Reason.RUNTIME_ERROR, detail="ZeroDivisionError"),
    ],
)
def test_a_row_gives_the_rollout_back(verdict: Verdict):
    rollout = _rollout(verdict)
    table = to_table([rollout])
    assert table.schema == LEDGER
    (back,) = from_table(table)
    ours, theirs = dataclasses.asdict(rollout), dataclasses.asdict(back)
    for name in ("prompt_ids", "token_ids", "logprobs"):
        array, other = ours["completion"].pop(name), theirs["completion"].pop(name)
        assert array.dtype == other.dtype
        np.testing.assert_array_equal(array, other)
    assert theirs == ours


def test_no_rollouts_are_a_table_too():
    assert to_table([]).schema == LEDGER
    assert from_table(to_table([])) == []
    assert token_rows(LEDGER.empty_table(), "values") == []


def test_scores_are_null_until_they_are_given():
    rollouts = [_rollout(Verdict(reason=Reason.NO_SOLUTION))] * 2
    values = np.array([0.5, 0.25, -1], np.float32)
    table = to_table(rollouts, {"values": [None, values]})
    assert table.schema == LEDGER
    assert table["advantages"].null_count == 2
    none, back = token_rows(table, "values")
    assert none is None
    assert back.dtype == np.float32
    assert back.tolist() == values.tolist()


def test_scores_must_fit_their_responses():
    rollout = _rollout(Verdict(reason=Reason.NO_SOLUTION))
    with pytest.raises(DataError) as caught:
        to_table([rollout], {"values": [np.zeros(2, np.float32)]})
    assert str(caught.value) == (
        "the row of `values` of rollout 0 has shape (2,), and its response has shape (3,); give "
        "one number per response token."
    )
    with pytest.raises(DataError, match="has no column `value` for scores; it has"):
        to_table([rollout], {"value": [None]})


def test_rows_of_a_part_of_a_table_are_its_own():
    rollouts = [_rollout(Verdict(reason=Reason.NO_SOLUTION))] * 3
    scores = [np.full(3, i, np.float32) for i in range(3)]
    table = to_table(rollouts, {"returns": scores})
    parts = pa.concat_tables([table.slice(2, 1), table.slice(0, 1)])
    assert [row.tolist() for row in token_rows(parts, "returns")] == [[2] * 3, [0] * 3]
    assert [r.completion.length for r in from_table(parts)] == [5, 5]


def _stage(rank: int, tensor: int = 0) -> Mesh:
    axis = Axis(rank=rank, size=3, ranks=(0, 1, 2))
    return dataclasses.replace(
        Mesh.single(), pipeline=axis, tensor=Axis(rank=tensor, size=2, ranks=(0, 1))
    )


@pytest.mark.parametrize(
    ("place", "first", "middle", "last", "last_second_tensor_rank"),
    [
        (Place.EVERYWHERE, True, True, True, True),
        (Place.ENDS, True, False, True, True),
        (Place.LAST, False, False, True, True),
        (Place.WRITER, False, False, True, False),
    ],
)
def test_places_on_a_pipeline_of_three(
    place: Place, first: bool, middle: bool, last: bool, last_second_tensor_rank: bool
):
    ranks = (_stage(0), _stage(1), _stage(2), _stage(2, tensor=1))
    seen = [place.here(mesh) for mesh in ranks]
    assert seen == [first, middle, last, last_second_tensor_rank]


def test_fields_live_where_they_are_used():
    assert field("tokens").place is Place.ENDS
    assert torch.from_numpy(np.zeros(1, field("mask").dtype)).dtype == torch.bool
    assert {FIELDS[name].place for name in ("old_values", "advantages", "weights")} == {Place.LAST}
    assert FIELDS["lengths"].place is Place.EVERYWHERE
    assert field("of a recipe's own").dtype is np.float32
    assert field("of a recipe's own").place is Place.LAST
    assert {field(name).place for name in SCORES.values()} == {Place.LAST}
