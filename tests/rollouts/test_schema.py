from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from reft_megatron.mesh import Axis, Mesh
from reft_megatron.rollouts.schema import FIELDS, LEDGER, Place, field, from_table, to_table
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
