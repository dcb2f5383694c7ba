"""The kernels' arithmetic, by the host twin that is compiled from the same headers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from reft_megatron.ops import cache_kernels, kernels
from reft_megatron.ops.reference import decode_attention as reference
from tests.ops.decode_scene import BANDS, HEADS, SIZES, distance, scene, truth


def attend(x: dict[str, Any]) -> Tensor:
    """The twin's attention, with the operator's defaults."""
    defaults = {"rows": None, "window": 0, "scale": x["query"].shape[-1] ** -0.5}
    return cache_kernels.decode_attention(**{**defaults, **x}, library=kernels.host())


@pytest.mark.parametrize("dtype", BANDS, ids=str)
@pytest.mark.parametrize("heads", [*HEADS, (10, 2), (7, 1)], ids=str)
@pytest.mark.parametrize("size", [*SIZES, 72, 136, 248])
def test_it_is_the_reference(size: int, heads: tuple[int, int], dtype: torch.dtype):
    x = scene([1, 40, 7, 33], heads=heads, size=size, dtype=dtype)
    assert distance(attend(x), truth(x)) < BANDS[dtype]


@pytest.mark.parametrize("size", [16, 128, 256], ids=["8 lanes", "16 lanes", "32 lanes"])
@pytest.mark.parametrize("heads", [(2, 2), (4, 2)], ids=["alone", "in groups"])
def test_rows_that_take_many_rounds_are_the_reference(heads: tuple[int, int], size: int):
    """A round is 16 to 128 positions; scores of 20 and more, so that maxima matter."""
    lengths = [127, 128, 129, 300, 512]
    x = scene(lengths, heads=heads, size=size, dtype=torch.float32, positions=512)
    x |= {"query": 20 * x["query"]}
    assert distance(attend(x), truth(x)) < 2e-5  # fp32 scores of 60 are off by 4e-6 and more


@pytest.mark.parametrize("window", [1, 3, 39, 40, 100])
@pytest.mark.parametrize("heads", [(2, 2), (4, 2)], ids=["alone", "in groups"])
def test_every_length_sees_its_window(heads: tuple[int, int], window: int):
    x = scene(list(range(1, 41)), heads=heads, dtype=torch.float32) | {"window": window}
    assert distance(attend(x), truth(x)) < BANDS[torch.float32]


@pytest.mark.parametrize("garbage", [float("nan"), float("inf")])
def test_what_lies_outside_is_not_read(garbage: float):
    x = scene([5, 9, 40], dtype=torch.bfloat16) | {"window": 4}
    clean = attend(x)
    for row, length in enumerate(x["lengths"].tolist()):
        for cache in (x["keys"], x["values"]):
            cache[row, :, length:] = garbage
            cache[row, :, : length - 4] = garbage
    assert torch.equal(attend(x), clean)
    x["keys"][1, :, 8] = float("nan")
    assert attend(x)[1].isnan().all(), "what counts is not hidden"


def test_a_row_is_the_same_bits_in_every_batch():
    x = scene([40, 3, 21, 8], dtype=torch.float32)
    whole = attend(x)
    for i in range(4):
        one = {name: x[name][i : i + 1] for name in ("query", "lengths")}
        alone = attend({**x, **one, "rows": torch.tensor([i])})
        assert torch.equal(alone[0], whole[i])


def test_idle_rows_give_zeros_and_rows_that_do_not_exist_too():
    x = scene([5, 0, -3, 9, 9], dtype=torch.float32)
    found = attend(x | {"rows": torch.tensor([0, 1, 2, -1, 7])})
    assert not found[1:].any()
    assert torch.equal(found[0], attend(x)[0])


def test_a_length_beyond_the_cache_counts_as_the_cache():
    x = scene([40, 40], dtype=torch.float32)
    beyond = attend(x | {"lengths": torch.tensor([41, 2**40])})
    assert torch.equal(beyond, attend(x))


def test_tensors_may_have_strides_and_indices_either_width():
    """Queries as a fused projection leaves them, a cache cut from a longer one."""
    x = scene([5, 17], heads=(2, 2), dtype=torch.bfloat16)
    fused = torch.randn(2, 2, 3 * 16).bfloat16()
    x["query"] = fused[..., :16]
    whole = attend(x | {"query": x["query"].clone()})
    x["keys"], x["values"] = (x[name][:, :, :20] for name in ("keys", "values"))
    assert torch.equal(attend(x), whole)
    narrow = attend(x | {"lengths": x["lengths"].int(), "rows": torch.tensor([0, 1]).int()})
    assert torch.equal(narrow, whole)


@pytest.mark.parametrize("rows", [None, [3, 0, 2, 1]])
@pytest.mark.parametrize("dtype", BANDS, ids=str)
def test_append_is_the_reference_bit_for_bit(dtype: torch.dtype, rows: list[int] | None):
    x = scene([1, 2], size=24, dtype=dtype)
    caches = [(x["keys"].clone(), x["values"].clone()) for _ in range(2)]
    fused = torch.randn(4, 2, 2, 24).to(dtype)
    fresh = {
        "key": fused[:, :, 0],
        "value": fused[:, :, 1],
        "positions": torch.tensor([0, 39, -1, 17]),
        "rows": None if rows is None else torch.tensor(rows),
    }
    cache_kernels.append(*caches[0], **fresh, library=kernels.host())
    reference.append(*caches[1], **fresh)
    assert all(map(torch.equal, *caches))


def test_append_writes_nothing_outside_the_cache():
    x = scene([1, 2], dtype=torch.float32)
    keys, values = x["keys"].clone(), x["values"].clone()
    fresh = torch.ones(4, 2, 16)
    where = {"positions": torch.tensor([40, -1, 0, 0]), "rows": torch.tensor([0, 1, 4, -1])}
    cache_kernels.append(keys, values, key=fresh, value=fresh, **where, library=kernels.host())
    assert torch.equal(keys, x["keys"])
    assert torch.equal(values, x["values"])
