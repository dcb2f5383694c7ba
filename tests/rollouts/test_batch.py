from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reft_megatron.rollouts.batch import common_shape, lay_out, pick
from reft_megatron.rollouts.packing import pack

PAD = 1
TOKENS = [np.array([5, 6, 7]), np.array([8]), np.array([9, 10])]
LENGTHS = [3, 1, 2]
FIELDS = {
    "weights": [np.array([0, 0.5, 0.5]), np.array([1.0]), np.array([0, 0.25])],
    "mask": [np.array([False, True, True]), np.array([True]), np.array([False, True])],
}


def test_packed_lays_sequences_end_to_end():
    batch = lay_out(
        [2, 0], LENGTHS, tokens=TOKENS, fields=FIELDS, pad_id=PAD, packed=True, length_multiple=4
    )
    assert batch.tokens is not None
    assert batch.tokens.tolist() == [[9, 10, 5, 6, 7, 1, 1, 1]]
    assert batch.positions.tolist() == [[0, 1, 0, 1, 2, 0, 0, 0]]
    assert batch.fields["weights"].tolist() == [[0, 0.25, 0, 0.5, 0.5, 0, 0, 0]]
    assert batch.fields["mask"].tolist() == [[False, True, False, True, True, *[False] * 3]]
    assert (batch.lengths, batch.indices, batch.packed) == ((2, 3), (2, 0), True)
    assert batch.tokens.dtype == batch.positions.dtype == torch.int64
    assert batch.fields["weights"].dtype == torch.float32


def test_padded_gives_each_sequence_a_row():
    batch = lay_out([1, 0], LENGTHS, tokens=TOKENS, fields=FIELDS, pad_id=PAD, packed=False)
    assert batch.tokens is not None
    assert batch.tokens.tolist() == [[8, 1, 1], [5, 6, 7]]
    assert batch.positions.tolist() == [[0, 0, 0], [0, 1, 2]]
    assert batch.fields["mask"].tolist() == [[True, False, False], [False, True, True]]


def test_a_middle_stage_gets_positions_and_lengths_only():
    batch = lay_out([0], LENGTHS, tokens=None, fields={}, pad_id=PAD, packed=False, shape=(2, 4))
    assert batch.tokens is None
    assert batch.positions.tolist() == [[0, 1, 2, 0], [0, 0, 0, 0]]
    assert batch.fields == {}


@pytest.mark.parametrize("packed", [True, False])
def test_no_sequences_make_one_row_of_padding(packed: bool):
    batch = lay_out(
        [], LENGTHS, tokens=TOKENS, fields=FIELDS, pad_id=PAD, packed=packed, length_multiple=2
    )
    assert batch.tokens is not None
    assert batch.tokens.tolist() == [[1, 1]]
    assert batch.fields["mask"].dtype == torch.bool
    assert not batch.fields["mask"].any()
    assert pick(batch, batch.tokens) == []


@settings(max_examples=100, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=30),
    packed=st.booleans(),
    length_multiple=st.integers(1, 8),
)
def test_pick_undoes_lay_out_in_the_common_shape(
    lengths: list[int], packed: bool, length_multiple: int
):
    rng = np.random.default_rng(sum(lengths))
    weights = [rng.normal(size=n).astype(np.float32) for n in lengths]
    plan = pack(lengths, data_size=2, max_tokens=40)
    shape = common_shape(plan, lengths, packed=packed, length_multiple=length_multiple)
    assert shape[1] % length_multiple == 0
    back: dict[int, list[float]] = {}
    for indices in (batch for rank in plan.data for batch in rank):
        batch = lay_out(
            indices,
            lengths,
            tokens=None,
            fields={"weights": weights},
            pad_id=PAD,
            packed=packed,
            shape=shape,
        )
        assert batch.positions.shape == shape
        rows = pick(batch, batch.fields["weights"])
        assert torch.cat([*rows, torch.zeros(0)]).sum().item() == pytest.approx(
            batch.fields["weights"].sum().item(), abs=1e-5
        )
        back |= {i: row.tolist() for i, row in zip(batch.indices, rows, strict=True)}
    assert back == {i: row.tolist() for i, row in enumerate(weights)}
