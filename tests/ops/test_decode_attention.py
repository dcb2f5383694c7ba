"""One token a row over a cache: equal to full attention, and nothing else of the cache is seen."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.nn import functional

from reft_megatron.ops import decode_attention as ops
from tests.ops.decode_scene import BANDS, HEADS, SIZES, distance, scene, truth


@pytest.mark.parametrize("dtype", BANDS, ids=str)
@pytest.mark.parametrize("heads", HEADS, ids=str)
@pytest.mark.parametrize("size", SIZES)
def test_it_is_the_reference(size: int, heads: tuple[int, int], dtype: torch.dtype):
    x = scene([1, 40, 7, 33], heads=heads, size=size, dtype=dtype)
    found = ops.decode_attention(**x)
    assert found.dtype == dtype
    assert distance(found, truth(x)) < BANDS[dtype]


def everywhere(device: str) -> list[str]:
    """What is out of its band on a device; a play of tests/gpu.py."""
    wrong = []
    for dtype, heads, size in itertools.product(BANDS, HEADS, SIZES):
        x = scene([1, 40, 0, 33], heads=heads, size=size, dtype=dtype)
        fresh = torch.randn(4, 2, heads[1], size).to(dtype)
        there = {name: tensor.to(device) for name, tensor in x.items()}
        for caches, to in ((x, "cpu"), (there, device)):
            key, value = fresh[:, 0].to(to), fresh[:, 1].to(to)
            positions = caches["lengths"] - 1
            ops.append(caches["keys"], caches["values"], key=key, value=value, positions=positions)
        for window in (0, 5):
            off = distance(
                ops.decode_attention(**there, window=window).cpu(), truth(x | {"window": window})
            )
            if not off < BANDS[dtype]:
                wrong.append(f"{dtype}, {heads} heads of {size}, window {window}: {off}")
        if not torch.equal(there["keys"].cpu(), x["keys"]):
            wrong.append(f"{dtype}, {heads} heads of {size}: the cache")
    return wrong


def test_it_holds_on_this_processor():
    assert everywhere("cpu") == []


def test_it_holds_on_a_gpu(on_gpu: Callable[..., Any]):
    assert on_gpu(everywhere, "cuda") == []


@pytest.mark.parametrize("dtype", BANDS, ids=str)
@pytest.mark.parametrize("size", [1, 12, 100, 288])
def test_head_sizes_that_the_kernels_do_not_take(size: int, dtype: torch.dtype):
    x = scene([3, 0, 17], size=size, dtype=dtype)
    assert distance(ops.decode_attention(**x), truth(x)) < BANDS[dtype]
    fresh = torch.randn(3, 2, 2, size).to(dtype)
    ops.append(
        x["keys"], x["values"], key=fresh[:, 0], value=fresh[:, 1], positions=x["lengths"] - 1
    )
    for cache, wanted in ((x["keys"], fresh[:, 0]), (x["values"], fresh[:, 1])):
        assert torch.equal(cache[[0, 2], :, [2, 16]], wanted[[0, 2]])
    assert distance(ops.decode_attention(**x), truth(x)) < BANDS[dtype]


@pytest.mark.parametrize("window", [0, 1, 3, 39, 40, 100])
def test_every_length_sees_its_window(window: int):
    x = scene(list(range(1, 41)), dtype=torch.float32)
    found = ops.decode_attention(**x, window=window)
    assert distance(found, truth({**x, "window": window})) < BANDS[torch.float32]


def test_the_last_token_of_a_prompt_sees_what_prefill_shows_it():
    """Causal attention over the whole sequence, its last row, for every prefix."""
    draw = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 4, 20, 16, generator=draw) for _ in range(3))
    full = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    keys, values = torch.zeros(1, 4, 32, 16), torch.zeros(1, 4, 32, 16)
    for i in range(20):
        position = torch.tensor([i])
        ops.append(keys, values, key=key[:, :, i], value=value[:, :, i], positions=position)
        found = ops.decode_attention(query[:, :, i], keys, values, lengths=position + 1)
        torch.testing.assert_close(found, full[:, :, i], rtol=1e-5, atol=1e-6)


def test_a_scale_and_cache_rows_are_what_they_say():
    x = scene([3, 17, 40], dtype=torch.float32)
    x |= {"rows": torch.tensor([4, 0, 2]), "scale": 0.7}
    assert distance(ops.decode_attention(**x), truth(x)) < BANDS[torch.float32]


@pytest.mark.parametrize("kind", [torch.int32, torch.int64], ids=str)
def test_idle_rows_give_zeros_and_write_nothing(kind: torch.dtype):
    x = scene([5, 0, 9], dtype=torch.bfloat16)
    x["lengths"] = x["lengths"].to(kind)
    found = ops.decode_attention(**x)
    assert not found[1].any()
    assert distance(found, truth(x)) < BANDS[torch.bfloat16]
    before = x["keys"].clone(), x["values"].clone()
    fresh = torch.ones(3, 2, 16, dtype=torch.bfloat16)
    ops.append(x["keys"], x["values"], key=fresh, value=-fresh, positions=x["lengths"] - 1)
    for cache, old, sign in ((x["keys"], before[0], 1), (x["values"], before[1], -1)):
        for row, position in ((0, 4), (2, 8)):
            assert (cache[row, :, position] == sign).all()
            old[row, :, position] = sign
        assert torch.equal(cache, old)


def test_tokens_of_one_row_land_side_by_side_and_idle_ones_nowhere():
    """A step that decodes rows 0 and 1, the second idle, and reads three tokens into row 1."""
    keys, values = torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
    fresh = torch.arange(1.0, 6)[:, None, None].expand(5, 1, 8)
    where = {"positions": torch.tensor([4, -1, 0, 1, 2]), "rows": torch.tensor([0, 1, 1, 1, 1])}
    ops.append(keys, values, key=fresh, value=-fresh, **where)
    assert keys[:, 0, :, 0].tolist() == [[0, 0, 0, 0, 1, 0, 0, 0], [3, 4, 5, 0, 0, 0, 0, 0]]
    assert torch.equal(values, -keys)


PLACES: dict[str, tuple[list[int], list[int] | None]] = {
    "each in its row": ([4, 0, 39], None),
    "some idle": ([-1, 7, -1], None),
    "an idle one in the row of others, at their first place": ([-1, 0, 1, 2], [2, 2, 2, 2]),
    "some beyond the cache": ([40, 3, 0, 0, 5], [0, 1, 5, -1, 4]),
    "all idle": ([-1, -1], [3, 3]),
    "none": ([], []),
}


@pytest.mark.parametrize("dtype", BANDS, ids=str)
@pytest.mark.parametrize(("positions", "rows"), PLACES.values(), ids=PLACES)
def test_torch_alone_writes_where_it_should_and_nowhere_else(
    positions: list[int], rows: list[int] | None, dtype: torch.dtype
):
    """As a GPU without the library does, where nobody looks at positions."""
    x = scene([1, 2, 3], dtype=dtype)
    found, wanted = [(x["keys"].clone(), x["values"].clone()) for _ in range(2)]
    fresh = {name: torch.randn(len(positions), 2, 16).to(dtype) for name in ("key", "value")}
    where = {
        "positions": torch.tensor(positions),
        "rows": None if rows is None else torch.tensor(rows),
    }
    ops._append(*found, **fresh, **where, key_scales=None, value_scales=None, faults=None)
    for i, (position, row) in enumerate(zip(positions, rows or range(3), strict=False)):
        if 0 <= position < 40 and 0 <= row < 5:
            wanted[0][row, :, position], wanted[1][row, :, position] = (
                f[i] for f in fresh.values()
            )
    assert all(map(torch.equal, found, wanted))


def test_without_the_library_a_gpu_is_not_waited_for():
    """Tensors without content: whatever asks for some fails, and so would a CUDA graph."""
    with FakeTensorMode():
        keys, values = torch.empty(2, 4, 2, 40, 16)
        codes = torch.empty(2, 4, 2, 40, 16, dtype=torch.float8_e4m3fn)
        query, at = torch.empty(3, 4, 16), torch.empty(3, dtype=torch.int64)
        scales = dict(zip(("key_scales", "value_scales"), torch.empty(2, 4, 2, 40), strict=True))
        for cache, how in (((keys, values), dict.fromkeys(scales)), (codes.unbind(), scales)):
            fresh = {"key": query[:, 2:], "value": query[:, :2], "positions": at, "rows": at}
            ops._append(*cache, **fresh, **how, faults=torch.empty(1, dtype=torch.int32))
            seen = {"lengths": at, "rows": at, "window": 3, "scale": 1.0, "span": 40}
            assert ops._decode_attention(query, *cache, **seen, **how).shape == query.shape


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("window", [0, 2])
def test_what_lies_outside_does_not_leak(garbage: float, window: int):
    x = scene([5, 0, 9, 40], dtype=torch.float32)
    clean = ops.decode_attention(**x, window=window)
    for row, length in enumerate(x["lengths"].tolist()):
        for cache in (x["keys"], x["values"]):
            cache[row, :, length:] = garbage
            cache[row, :, : max(length - window, 0) if window else 0] = garbage
    x["keys"][4:], x["values"][4:] = garbage, garbage
    found = ops.decode_attention(**x, window=window)
    assert distance(found, clean.double()) < BANDS[torch.float32]
    x["values"][0, :, 4] = float("nan")
    assert ops.decode_attention(**x, window=window)[0].isnan().all(), "what counts is not hidden"


def test_a_row_does_not_depend_on_the_others():
    x = scene([40, 3, 21, 8], dtype=torch.float32)
    whole = ops.decode_attention(**x)
    for i in range(4):
        alone = ops.decode_attention(
            x["query"][i : i + 1],
            x["keys"],
            x["values"],
            lengths=x["lengths"][i : i + 1],
            rows=torch.tensor([i]),
        )
        assert distance(alone, whole[i : i + 1].double()) < BANDS[torch.float32]


@pytest.mark.parametrize("rows", [None, [1, 3]])
def test_the_operators_are_what_torch_expects(rows: list[int] | None):
    x = scene([3, 17], dtype=torch.float32)
    cache, positions = (x["keys"], x["values"]), x.pop("lengths")
    which = {"rows": None if rows is None else torch.tensor(rows)}
    which |= {"key_scales": None, "value_scales": None}
    seen = {"lengths": positions, "window": 4, "scale": 0.25, **which}
    torch.library.opcheck(torch.ops.reft.decode_attention, (x["query"], *cache), seen)
    fresh = torch.zeros(2, 2, 16)
    written = {"key": fresh, "value": fresh, "positions": positions - 1, "faults": None, **which}
    torch.library.opcheck(torch.ops.reft.append, cache, written)


GOOD = scene([3, 17], dtype=torch.float32)
REFUSED = [
    ({"query": torch.zeros(2, 3, 16)}, "3 heads in 2 groups with window 0"),
    ({"window": -1}, "4 heads in 2 groups with window -1"),
    ({"query": torch.zeros(2, 4, 8)}, "heads of 8 and of 16 in the cache"),
    ({"keys": torch.zeros(4, 2, 16)}, "a cache of (4, 2, 16) keys and (4, 2, 40, 16) values"),
    ({"query": torch.zeros(2, 4, 16).half()}, "tokens torch.float16, keys torch.float32, values "),
    ({"lengths": torch.tensor([3])}, "lengths (1,) torch.int64; wanted [2], int32 or int64."),
    ({"rows": torch.tensor([0.0, 1.0])}, "rows (2,) torch.float32; wanted [2], int32 or int64."),
    ({"lengths": torch.tensor([3, 41])}, "length 41, over the cache's 40 positions."),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[m for _, m in REFUSED])
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  # its message is compared below
        ops.decode_attention(**{**GOOD, **change})
    assert str(refusal.value).startswith(message)


def test_a_place_beyond_the_cache_is_refused():
    x = scene([3], dtype=torch.float32)
    fresh = torch.zeros(1, 2, 16)
    with pytest.raises(ValueError, match=r"^position 40, over the cache's 40 positions\.$"):
        ops.append(x["keys"], x["values"], key=fresh, value=fresh, positions=torch.tensor([40]))
    where = {"positions": torch.tensor([4]), "rows": torch.tensor([3])}
    with pytest.raises(ValueError, match=r"^row 3, over the cache's 3 rows\.$"):
        ops.append(x["keys"], x["values"], key=fresh, value=fresh, **where)
    with pytest.raises(ValueError, match=r"^key \(1, 2, 16\) .* and value \(1, 1, 16\) .*; wanted"):
        ops.append(
            x["keys"], x["values"], key=fresh, value=fresh[:, :1], positions=torch.tensor([0])
        )


def test_no_order_of_dtypes_is_missed():
    """Each of the three tensors must have the dtype of the others."""
    for odd in itertools.product([torch.bfloat16, torch.float32], repeat=3):
        x = dict(zip(("query", "keys", "values"), odd, strict=True))
        call = {**GOOD, **{name: GOOD[name].to(dtype) for name, dtype in x.items()}}
        if len(set(odd)) == 1:
            ops.decode_attention(**call)
        else:
            with pytest.raises(
                ValueError, match=r"^tokens torch.*, keys torch.*, values torch.*; wanted "
            ):
                ops.decode_attention(**call)
