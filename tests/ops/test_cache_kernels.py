"""The calls of a cache's kernels: what they refuse, and an empty batch."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest
import torch

from reft_megatron.ops import cache_kernels, kernels
from reft_megatron.ops.cache_kernels import append, decode_attention
from tests.ops.decode_scene import scene

REFUSED = [
    (lambda x: x.update(window=-1), "a shape that the kernel does not take (status -1)."),
    (
        lambda x: x.update(query=torch.zeros(2 * 4 * 16 + 1)[1:].view(2, 4, 16)),
        "a pointer or stride that is no multiple of 16 bytes (status -3).",
    ),
    (
        lambda x: x.update(query=torch.zeros(2, 4, 20)[..., :16]),
        "a pointer or stride that is no multiple of 16 bytes (status -3).",
    ),
    (lambda x: x.update(query=torch.zeros(2, 3, 16)), "a shape that the kernel does not take"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_the_kernels_refuse_what_they_cannot_do(change: Any, message: str):
    x = scene([3, 17], dtype=torch.float32) | {"rows": None, "window": 0, "scale": 1.0}
    change(x)
    with pytest.raises(ValueError, match=r"^reft_decode_attention: ") as refused:
        decode_attention(**x, library=kernels.host())
    assert message in str(refused.value)


def test_the_kernels_refuse_what_is_not_there():
    twin = kernels.host()
    x = scene([3, 17], dtype=torch.float32)
    args = cache_kernels._DecodeAttention(
        cache=cache_kernels._cache(x["keys"], x["values"]), batch=2, heads=4, dtype=1
    )
    call = twin._functions.reft_decode_attention
    assert twin.message(call(ctypes.byref(args), 0, None)) == "a null pointer"
    args.cache.dtype = 7
    assert (
        twin.message(call(ctypes.byref(args), 0, None)) == "a dtype that the kernel does not take"
    )


def test_an_empty_batch_is_nothing_to_do():
    twin, x = {"library": kernels.host()}, scene([3, 17], dtype=torch.float32)
    none, nothing = torch.empty(0, dtype=torch.int64), torch.empty(0, 4, 16)
    how = {"lengths": none, "rows": None, "window": 0, "scale": 1.0}
    assert decode_attention(nothing, x["keys"], x["values"], **how, **twin).shape == (0, 4, 16)
    fresh = {"key": nothing[:, :2], "value": nothing[:, :2], "positions": none, "rows": None}
    append(x["keys"], x["values"], **fresh, **twin)


def test_caches_of_two_strides_and_strided_indices_are_refused():
    x = scene([3, 17], dtype=torch.float32) | {"rows": None, "window": 0, "scale": 1.0}
    lengths = torch.tensor([3, 0, 17, 0])[::2]
    turned = x["keys"].transpose(1, 2).contiguous().transpose(1, 2)
    with pytest.raises(ValueError, match=r"^strides \(.*\) of keys and \(.*\) of values; wanted"):
        decode_attention(**x | {"keys": turned}, library=kernels.host())
    with pytest.raises(ValueError, match=r"^indices with stride 2; wanted them side by side\.$"):
        decode_attention(**x | {"lengths": lengths}, library=kernels.host())
