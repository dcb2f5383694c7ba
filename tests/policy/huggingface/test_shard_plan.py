"""Plans of shards against the safetensors library, and pieces that must make a whole."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import deserialize

from reft_megatron.policy.huggingface.shard_plan import (
    DTYPES,
    Piece,
    TensorInfo,
    check_tiling,
    index_text,
    plan_shards,
)


def info(*shape: int, dtype: torch.dtype = torch.float16) -> TensorInfo:
    return TensorInfo(shape=shape, dtype=dtype)


@pytest.mark.parametrize(
    ("shape", "rows", "columns"),
    [((), 1, 1), ((5,), 5, 1), ((5, 3), 5, 3), ((5, 3, 2), 5, 6), ((0, 3), 0, 3)],
)
def test_every_tensor_has_rows_and_columns(shape, rows, columns):
    tensor = info(*shape, dtype=torch.float32)
    assert (tensor.rows, tensor.columns, tensor.nbytes) == (rows, columns, 4 * rows * columns)


def test_one_shard_has_no_number():
    (shard,) = plan_shards({"a": info(4), "b": info(4)}, 16)
    assert shard.file == "model.safetensors"


def test_shards_take_tensors_in_order_up_to_their_size():
    tensors = {"d": info(4), "c": info(4), "b": info(100), "a": info(2), "e": info(6), "f": info(1)}
    shards = plan_shards(tensors, 16)
    assert {shard.file: list(shard.starts) for shard in shards} == {
        "model-00001-of-00004.safetensors": ["d", "c"],
        "model-00002-of-00004.safetensors": ["b"],
        "model-00003-of-00004.safetensors": ["a", "e"],
        "model-00004-of-00004.safetensors": ["f"],
    }
    assert json.loads(index_text(shards)) == {
        "metadata": {"total_size": 2 * (4 + 4 + 100 + 2 + 6 + 1)},
        "weight_map": {
            "d": "model-00001-of-00004.safetensors",
            "c": "model-00001-of-00004.safetensors",
            "b": "model-00002-of-00004.safetensors",
            "a": "model-00003-of-00004.safetensors",
            "e": "model-00003-of-00004.safetensors",
            "f": "model-00004-of-00004.safetensors",
        },
    }


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
        st.tuples(
            st.sampled_from(sorted(DTYPES)), st.lists(st.integers(0, 5), max_size=3).map(tuple)
        ),
        max_size=6,
    )
)
def test_the_library_reads_our_headers(tensors):
    planned = {n: info(*shape, dtype=DTYPES[code]) for n, (code, shape) in tensors.items()}
    (shard,) = plan_shards(planned, 1 << 40)
    assert len(shard.header) % 8 == 0
    data = bytes(i % 251 for i in range(shard.size - len(shard.header)))
    read = dict(deserialize(shard.header + data))
    assert {n: (r["dtype"], tuple(r["shape"])) for n, r in read.items()} == tensors
    for name, start in shard.starts.items():
        place = start - len(shard.header)
        assert bytes(read[name]["data"]) == data[place : place + planned[name].nbytes]
        assert start % planned[name].dtype.itemsize == 0


# ---------------------------------------------------------------- pieces


@st.composite
def tilings(draw, rows: int, columns: int) -> list[Piece]:
    """A rectangle cut at random, into strips and each strip anew, in any order."""
    pieces = []
    for top, bottom in spans(draw, rows):
        pieces += [(top, bottom, left, right) for left, right in spans(draw, columns)]
    return draw(st.permutations(pieces))


def spans(draw, length: int) -> list[tuple[int, int]]:
    cuts = sorted(draw(st.sets(st.integers(1, length - 1), max_size=3))) if length > 1 else []
    return list(zip([0, *cuts], [*cuts, length], strict=True))


@settings(deadline=None)
@given(st.data(), st.integers(1, 9), st.integers(1, 9))
def test_pieces_make_a_whole_once_each(data, rows: int, columns: int):
    pieces = data.draw(tilings(rows, columns))
    tensor = info(rows, columns)
    check_tiling("w", tensor, pieces)
    some = data.draw(st.sampled_from(pieces))
    with pytest.raises(ValueError, match=rf"^row {some[0]} of tensor w was written twice$"):
        check_tiling("w", tensor, [*pieces, some])
    area = (some[1] - some[0]) * (some[3] - some[2])
    with pytest.raises(ValueError, match=rf"^{area} of {rows * columns} elements of tensor w are"):
        check_tiling("w", tensor, [piece for piece in pieces if piece != some])


def test_an_overlap_does_not_hide_a_gap():
    with pytest.raises(ValueError, match="row 1 of tensor w was written twice"):
        check_tiling("w", info(4, 2), [(0, 2, 0, 2), (1, 3, 0, 2)])


def test_an_empty_tensor_needs_no_piece():
    check_tiling("w", info(0, 4), [])
