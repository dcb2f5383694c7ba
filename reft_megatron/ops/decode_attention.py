"""Attention of one new token a sequence over a key/value cache of true length.

Owns the two operators of a decode step, `reft::append` and `reft::decode_attention`, registered
with torch so that compilation and CUDA graphs see them, and the choice of who serves them. On a GPU
that is the kernel of csrc/kernels, which reads no further than a row's length and leaves lengths
where they are. On a CPU the host twin appends, in a fifth of the time that torch takes, and
scaled_dot_product_attention under a mask attends. Torch alone also serves a GPU where that library
cannot run, and head sizes that the kernels do not take. Knows neither models nor slots.

Legend: R rows of a batch, N heads, G groups of heads that share keys and values, D head size,
C rows of the cache, P positions of a cache row.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from reft_megatron.ops import cache_kernels, kernels
from reft_megatron.ops.reference.e4m3 import dequantise, quantise

__all__ = ["append", "decode_attention"]

_GROUP, _LARGEST_HEAD = 8, 256
"""Of head sizes that the kernels take: what divides them, and the largest."""
_INDICES = (torch.int32, torch.int64)


def decode_attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    lengths: Tensor,
    rows: Tensor | None = None,
    window: int = 0,
    scale: float | None = None,
    scales: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """softmax(q k^T scale) v of each row's new token, [R, N, D] in the query's dtype.

    query [R, N, D] bf16 or fp32, keys and values [C, G, P, D] of its dtype, or float8_e4m3fn with
    the `scales` fp32 [C, G, P] of keys and of values; N a multiple of G. lengths int32 or int64
    [R]: positions that count in a row, the new token's included; 0 is an idle row and gives zeros.
    rows int32 or int64 [R]: the cache row of each row; None: row i is cache row i. The last
    `window` positions are seen, 0 sees all; scale None is 1 / sqrt(D). Products are accumulated in
    fp32.

    Raises ValueError for shapes and dtypes that do not fit. On a CPU also for a length beyond P; on
    a GPU, where looking would wait for the device, such a length counts as P. What lies beyond a
    length does not matter, but a GPU that the kernel does not serve wants it finite.
    """
    _check_cache(keys, values, like=query, scales=scales)
    if query.shape[1] % keys.shape[1] or window < 0:
        raise ValueError(
            f"{query.shape[1]} heads in {keys.shape[1]} groups with window {window}; wanted a "
            "multiple of the groups and a window of 0 or more."
        )
    _check_indices(len(query), len(keys), lengths=lengths, rows=rows)
    out: Tensor = torch.ops.reft.decode_attention(
        query,
        keys,
        values,
        lengths=lengths,
        rows=rows,
        window=window,
        scale=query.shape[-1] ** -0.5 if scale is None else scale,
        **_named(scales),
    )
    return out


def append(
    keys: Tensor,
    values: Tensor,
    *,
    key: Tensor,
    value: Tensor,
    positions: Tensor,
    rows: Tensor | None = None,
    scales: tuple[Tensor, Tensor] | None = None,
    faults: Tensor | None = None,
) -> None:
    """Write the key and value [R, G, D] of each of R tokens into the cache [C, G, P, D], in place.

    positions int32 or int64 [R]: where each token stands; a negative one is idle and writes
    nothing. rows and scales as in `decode_attention`; a cache row may be named by many tokens, a
    place of it by one. An FP8 cache gets codes and scales as `ops.reference.e4m3` has them, and
    faults int32 [1], where it is given, grows by the number of vectors that are not finite.

    Raises ValueError for shapes and dtypes that do not fit, and on a CPU for a position beyond P or
    a row beyond C, which on a GPU write nothing; ConfigError on a CPU whose twin is not built.
    """
    _check_cache(keys, values, like=key, scales=scales)
    if key.shape != value.shape or key.shape[1] != keys.shape[1] or value.dtype != key.dtype:
        raise ValueError(
            f"key {tuple(key.shape)} {key.dtype} and value {tuple(value.shape)} {value.dtype}; "
            f"wanted both [tokens, {keys.shape[1]}, {keys.shape[3]}] {key.dtype}."
        )
    _check_indices(len(key), len(keys), positions=positions, rows=rows)
    if faults is not None and (faults.shape != (1,) or faults.dtype != torch.int32):
        raise ValueError(f"faults {tuple(faults.shape)} {faults.dtype}; wanted [1], int32.")
    torch.ops.reft.append(
        keys,
        values,
        key=key,
        value=value,
        positions=positions,
        rows=rows,
        **_named(scales),
        faults=faults,
    )


def _named(scales: tuple[Tensor, Tensor] | None) -> dict[str, Tensor | None]:
    key_scales, value_scales = (None, None) if scales is None else scales
    return {"key_scales": key_scales, "value_scales": value_scales}


def _check_cache(
    keys: Tensor, values: Tensor, *, like: Tensor, scales: tuple[Tensor, Tensor] | None
) -> None:
    if keys.dim() != 4 or keys.shape != values.shape or like.dim() != 3:
        raise ValueError(
            f"a cache of {tuple(keys.shape)} keys and {tuple(values.shape)} values for tokens "
            f"{tuple(like.shape)}; wanted [rows, groups, positions, size] twice, and three axes."
        )
    size = keys.shape[3]
    if like.shape[2] != size or not size:
        raise ValueError(
            f"heads of {like.shape[2]} and of {size} in the cache; wanted one size, 1 or more."
        )
    cached = like.dtype if scales is None else torch.float8_e4m3fn
    if like.dtype not in (torch.bfloat16, torch.float32) or {keys.dtype, values.dtype} != {cached}:
        raise ValueError(
            f"tokens {like.dtype}, keys {keys.dtype}, values {values.dtype}; wanted bfloat16 or "
            "float32 in all, or float8_e4m3fn with scales in the cache."
        )
    for scale in scales or ():
        if scale.shape != keys.shape[:3] or scale.dtype != torch.float32:
            raise ValueError(
                f"scales {tuple(scale.shape)} {scale.dtype}; wanted {tuple(keys.shape[:3])}, "
                "float32."
            )


def _check_indices(batch: int, cached: int, **indices: Tensor | None) -> None:
    for name, index in indices.items():
        if index is not None and (index.shape != (batch,) or index.dtype not in _INDICES):
            raise ValueError(
                f"{name} {tuple(index.shape)} {index.dtype}; wanted [{batch}], int32 or int64."
            )
    if indices["rows"] is None and batch > cached:
        raise ValueError(f"{batch} rows without `rows`, over the cache's {cached}.")


def _decode_attention_fake(query: Tensor, keys: Tensor, values: Tensor, **how: Any) -> Tensor:
    return torch.empty_like(query, memory_format=torch.contiguous_format)


def _append_fake(keys: Tensor, values: Tensor, **how: Any) -> None:
    return None


def _kernels_take(keys: Tensor) -> bool:
    return keys.shape[3] % _GROUP == 0 and keys.shape[3] <= _LARGEST_HEAD


def _decode_attention_cuda(query: Tensor, keys: Tensor, values: Tensor, **how: Any) -> Tensor:
    library = kernels.cuda(query.device.index)
    if isinstance(library, kernels.Library) and _kernels_take(keys):
        return cache_kernels.decode_attention(query, keys, values, **how, library=library)
    return _decode_attention(query, keys, values, span=keys.shape[2], **how)


def _append_cuda(keys: Tensor, values: Tensor, **how: Any) -> None:
    library = kernels.cuda(keys.device.index)
    if isinstance(library, kernels.Library) and _kernels_take(keys):
        cache_kernels.append(keys, values, **how, library=library)
    else:
        _append(keys, values, **how)


def _decode_attention_cpu(
    query: Tensor, keys: Tensor, values: Tensor, *, lengths: Tensor, **how: Any
) -> Tensor:
    span = int(lengths.max()) if len(lengths) else 0
    if span > keys.shape[2]:
        raise ValueError(f"length {span}, over the cache's {keys.shape[2]} positions.")
    out = _decode_attention(query, keys, values, lengths=lengths, span=span, **how)
    if out.isnan().any():  # 0 * nan is nan: what lies where nothing counts may have shown
        out = _decode_attention(query, keys, values, lengths=lengths, span=span, hide=True, **how)
    return out


def _append_cpu(
    keys: Tensor, values: Tensor, *, positions: Tensor, rows: Tensor | None, **how: Any
) -> None:
    for index, name, beyond in ((positions, "position", 2), (rows, "row", 0)):
        last = int(index.max()) if index is not None and len(index) else -1
        if last >= keys.shape[beyond]:
            raise ValueError(f"{name} {last}, over the cache's {keys.shape[beyond]} {name}s.")
    if _kernels_take(keys):
        cache_kernels.append(
            keys, values, positions=positions, rows=rows, **how, library=kernels.host()
        )
    else:
        _append(keys, values, positions=positions, rows=rows, **how)


def _decode_attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    lengths: Tensor,
    rows: Tensor | None,
    window: int,
    scale: float,
    key_scales: Tensor | None,
    value_scales: Tensor | None,
    span: int,
    hide: bool = False,
) -> Tensor:
    """The operator by torch alone, over the first `span` positions; no shape depends on lengths.

    What lies where nothing counts must be finite, unless it is to `hide` that.
    """
    held = query
    if key_scales is not None and value_scales is not None:
        held, keys, values = query.float(), _held(keys, query, rows), _held(values, query, rows)
        key_scales, value_scales = (_held(x, query, rows) for x in (key_scales, value_scales))
        keys = dequantise(keys[:, :, :span], key_scales[:, :, :span])
        values = dequantise(values[:, :, :span], value_scales[:, :, :span])
    else:
        keys, values = (_held(x, query, rows)[:, :, :span] for x in (keys, values))
    seen = _seen(lengths, span, window)
    if hide:
        keys, values = (x.where(seen[:, None, :, None], 0) for x in (keys, values))
    out = _masked(held, keys, values, seen=seen, scale=scale)
    return out.to(query.dtype)


def _held(cache: Tensor, query: Tensor, rows: Tensor | None) -> Tensor:
    """The cache rows of the batch."""
    if rows is None:
        return cache[: len(query)]
    if cache.dtype == torch.float8_e4m3fn:  # which torch does not index on every device
        return cache.view(torch.uint8)[rows].view(cache.dtype)
    return cache[rows]


def _seen(lengths: Tensor, span: int, window: int) -> Tensor:
    """True where a position below `span` counts, [R, span]."""
    back = lengths[:, None] - 1 - torch.arange(span, device=lengths.device)
    return (back >= 0) & (back < window) if window else back >= 0


def _masked(query: Tensor, keys: Tensor, values: Tensor, *, seen: Tensor, scale: float) -> Tensor:
    """The heads of a group as queries of one head: keys and values are not repeated for them."""
    rows, groups, _, size = keys.shape
    out = functional.scaled_dot_product_attention(
        query.reshape(rows, groups, query.shape[1] // groups, size),
        keys,
        values,
        attn_mask=seen[:, None, None, :],
        scale=scale,
    )
    return out.reshape(query.shape).masked_fill(~seen.any(dim=1)[:, None, None], 0)


def _append(
    keys: Tensor,
    values: Tensor,
    *,
    key: Tensor,
    value: Tensor,
    positions: Tensor,
    rows: Tensor | None,
    key_scales: Tensor | None,
    value_scales: Tensor | None,
    faults: Tensor | None,
) -> None:
    """The operator by torch alone; no shape depends on what is in a tensor."""
    rooms, _, places, _ = keys.shape
    if not len(key):
        return
    tokens = torch.arange(len(key), device=key.device)
    where = tokens if rows is None else rows
    busy = (positions >= 0) & (positions < places) & (where >= 0) & (where < rooms)
    # Who goes nowhere writes what one who goes somewhere writes, to the same place; if nobody
    # does, all write to one place what is there.
    taken = torch.where(busy, tokens, busy.int().argmax())
    where, at = where[taken].clamp(0, rooms - 1), positions[taken].clamp(0, places - 1)

    def put(cache: Tensor, fresh: Tensor) -> None:
        cache[where, :, at] = torch.where(busy.any(), fresh[taken], cache[where, :, at])

    for cache, scales, fresh in ((keys, key_scales, key), (values, value_scales, value)):
        if scales is None:
            put(cache, fresh)
            continue
        if faults is not None:
            faults += (busy[:, None] & ~fresh.isfinite().all(dim=-1)).sum()
        codes, its = quantise(fresh)
        put(scales, its)
        put(cache.view(torch.uint8), codes.view(torch.uint8))


kernels.register(
    "decode_attention",
    "(Tensor query, Tensor keys, Tensor values, *, Tensor lengths, Tensor? rows, SymInt window, "
    "float scale, Tensor? key_scales, Tensor? value_scales) -> Tensor",
    cpu=_decode_attention_cpu,
    cuda=_decode_attention_cuda,
    fake=_decode_attention_fake,
)
kernels.register(
    "append",
    "(Tensor(a!) keys, Tensor(b!) values, *, Tensor key, Tensor value, Tensor positions, "
    "Tensor? rows, Tensor(c!)? key_scales, Tensor(d!)? value_scales, Tensor(e!)? faults) -> ()",
    cpu=_append_cpu,
    cuda=_append_cuda,
    fake=_append_fake,
)
