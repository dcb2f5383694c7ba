"""What a forward pass leaves behind, tensor by tensor.

Owns the bytes that autograd keeps of one micro-batch in each part of the model, with each way of
recomputing, and the largest of what lives for a moment only. It follows `policy.layers`,
`policy.attention`, `policy.rotary` and `ops.logprob`; a test counts the saved tensors of real
forward passes and compares.
"""

from __future__ import annotations

from reft_megatron.policy.plan.case import Case

__all__ = [
    "backward_bytes",
    "cache_bytes",
    "embedding_bytes",
    "head_bytes",
    "hidden_bytes",
    "layer_bytes",
    "logits_bytes",
    "prefill_bytes",
]

_KEPT_INSIDE = {"gelu": 2, "relu": 1, "swiglu": 5}
"""Tensors as wide as the feed-forward block that its activation keeps, by its name."""

_SAMPLER = 12
"""Bytes for each logit that is drawn from: itself, by temperature, and its exponential, fp32."""


def hidden_bytes(case: Case) -> int:
    """The residual stream of one micro-batch, as stages hand it on."""
    return case.tokens * case.architecture.hidden * case.itemsize // case.shard


def embedding_bytes(case: Case) -> int:
    """Kept of the embedding: ids and positions."""
    return 16 * case.tokens


def layer_bytes(case: Case, recompute: str) -> int:
    """Kept of one layer."""
    if recompute == "full":
        return hidden_bytes(case)
    shape, attention, e = case.architecture, case.architecture.attention, case.itemsize
    query, key, inner = case.widths
    # Two norms and their outputs, which the matrix products behind them need.
    kept = 2 * (_norm(case) + shape.hidden * e) / case.shard
    kept += (query + 2 * key) * e  # one tensor: what the product makes
    grouped = query * e if query > key > attention.size else 0  # copied out of their groups
    if attention.qk_norm:
        kept += (query + key) * e + (grouped if e == 4 else 4 * (query + key))
    kept += inner * e * _KEPT_INSIDE[shape.activation]
    if case.config.model.dropout > 0:
        kept += 2 * shape.hidden / case.shard  # masks
    if recompute == "none":
        return round(case.tokens * kept) + _core_bytes(case)
    # What goes into attention, and what comes out.
    kept += (query + key) * e if attention.qk_norm else grouped
    return round(case.tokens * (kept + query * e))


def head_bytes(case: Case) -> int:
    """Kept behind the last layer: norm, hidden states, a few numbers a token."""
    hidden, e = case.architecture.hidden, case.itemsize
    kept = _norm(case) / case.shard + hidden * e + 12
    if e < 4 or case.shard > 1:
        kept += 4 * hidden  # the head has fp32 hidden states of its own
    return round(case.tokens * kept)


def backward_bytes(case: Case) -> int:
    """At hand while one layer's gradient is computed: what was not kept, and gradients."""
    shape, e, recompute = case.architecture, case.itemsize, case.config.model.recompute
    query, key, inner = case.widths
    wide = inner * (2 if shape.gated else 1)
    found = case.tokens * (2 * shape.hidden + wide) * e
    if recompute == "full":
        found += layer_bytes(case, "none")
    if recompute == "selective":
        # Attention is computed again when the feed-forward block has let go of what it kept.
        gone = inner * _KEPT_INSIDE[shape.activation]
        again = case.tokens * (2 * shape.hidden + query + 2 * key - gone) * e + _core_bytes(case)
        found = max(found, again)
    found += shape.hidden * wide * e
    if shape.tied and case.parallel.pipeline == 1:
        found += case.vocab_rows * shape.hidden * e  # waits for the embedding's part
    return found


def logits_bytes(case: Case) -> int:
    """The largest moment of `ops.logprob`: in its forward pass, in a chunk of its backward pass,
    or when the gradient of the vocabulary is summed."""
    rows, hidden, e = case.vocab_rows, case.architecture.hidden, case.itemsize
    chunk = min(case.config.model.logprob_chunk, case.tokens)
    product = 4 if e == 4 else 4 + e  # in the weights' dtype, then in fp32
    rounded = 0 if e == 4 else e
    return max(
        3 * 4 * chunk * rows,
        (2 * 4 + rounded) * chunk * rows + 4 * rows * hidden,
        e * chunk * rows + (4 + product) * rows * hidden,
    )


def cache_bytes(case: Case) -> int:
    """Keys and values of one layer, for all that is generated and read at once."""
    _, key, _ = case.widths
    rows = case.parallel.pipeline * (case.lane_rows + case.prefill_rows)
    size = key * case.itemsize
    if case.config.model.samples_in_fp8 and case.config.fp8.cache:
        size = key + 4 * key // case.architecture.attention.size  # codes, a scale for each head
    return rows * (case.prompt + case.response) * 2 * size


def prefill_bytes(case: Case) -> int:
    """One layer's hidden states of a step, which decodes a lane and reads prompts beside it; or
    logits to draw from, if larger."""
    e, rows = case.itemsize, case.lane_rows
    read = min(case.config.generate.prefill_tokens, case.prefill_rows * case.prompt)
    query, key, inner = case.widths
    feed_forward = inner * (5 if case.architecture.gated else 2)
    states = 4 * case.architecture.hidden + max(feed_forward, 2 * (query + 2 * key))
    return max((rows + read) * states * e, rows * case.vocab_rows * _SAMPLER)


def _norm(case: Case) -> int:
    """Kept of a norm, for each token: input and moments, or what RMSNorm computes in fp32."""
    hidden, e = case.architecture.hidden, case.itemsize
    if case.architecture.norm.kind == "layer":
        return hidden * e + 8
    return hidden * (4 + e) + 4


def _core_bytes(case: Case) -> int:
    """Kept of attention proper: rotated, spread over a rectangle, attended."""
    attention, e = case.architecture.attention, case.itemsize
    query, key, _ = case.widths
    kept = 0
    if attention.rope is not None:
        kept += (query + key) * e
        kept += 0 if e == 4 else 4 * attention.size * e  # sines and cosines, rounded
    # Queries, keys, values and the output, and the sum of each row's exponentials.
    cells = (2 * query + 2 * key) * e + 4 * attention.heads // case.parallel.tensor
    if not case.config.optimizer.packing:
        # Nothing is spread: queries, keys and values are those already kept.
        return case.tokens * (kept + query * e + 4 * attention.heads // case.parallel.tensor)
    # Spreading keeps its source, which is kept already, and gathering makes a tensor of its own.
    return round(case.tokens * (kept + query * e + case.spread * cells))
