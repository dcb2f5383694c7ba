"""Which rows of which Hugging Face tensor make up each weight of a model.

Owns the two differences between the formats, both of them orders of rows: Megatron keeps queries,
keys and values in one weight, group by group, and gate and up in one weight, one after the other.
So a weight is a list of runs of rows, the same list in both directions. Families bring the names.

Legend: G groups, Q query heads of a group, D head size.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

from reft_megatron.policy.families import Architecture, family_of
from reft_megatron.policy.model import CLASSES, unpublished

__all__ = ["HEAD_NAMES", "WRAPPERS", "Run", "Weight", "find_name", "head_of", "weights"]

HEAD_NAMES = {
    "value": {
        "value_head.weight": "v_head.summary.weight",
        "value_head.bias": "v_head.summary.bias",
    },
    "rerank": {"rerank_head.weight": "score.weight"},
    "none": {},
}
"""Names of the heads: TRL's of a value head, which ReFT's checkpoints carry, and transformers' of
a sequence classifier."""

WRAPPERS = ("", "module.", "pretrained_model.", "module.pretrained_model.")
"""What DistributedDataParallel, TRL, and the one around the other put before names."""

_OUTSIDE = {
    "embedding": "embedding.word_embeddings.{}",
    "positions": "embedding.position_embeddings.{}",
    "final_norm": "decoder.final_layernorm.{}",
    "output": "output_layer.{}",
}
_INSIDE = {
    # Megatron names a norm in its checkpoints after the matrix it stands before.
    "attention_norm": "decoder.layers.self_attention.linear_qkv.layer_norm_{}",
    "qkv": "decoder.layers.self_attention.linear_qkv.{}",
    "q_norm": "decoder.layers.self_attention.q_layernorm.{}",
    "k_norm": "decoder.layers.self_attention.k_layernorm.{}",
    "proj": "decoder.layers.self_attention.linear_proj.{}",
    "ffn_norm": "decoder.layers.mlp.linear_fc1.layer_norm_{}",
    "fc1": "decoder.layers.mlp.linear_fc1.{}",
    "fc2": "decoder.layers.mlp.linear_fc2.{}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Consecutive rows that stand together in both formats."""

    name: str
    """Hugging Face tensor."""
    source: int
    """First row there."""
    target: int
    """First row in the weight."""
    rows: int
    """How many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """One weight of the whole model, without padding."""

    key: str
    """Megatron's name, the same in all layers."""
    layer: int | None
    """Which layer, from 0; None outside the layers."""
    shape: tuple[int, ...]
    """Rows, and columns where it is a matrix."""
    runs: tuple[Run, ...]
    """Where its rows come from, in the order of the weight's rows."""

    @property
    def sources(self) -> dict[str, tuple[int, ...]]:
        """Shape of each Hugging Face tensor that it is made of."""
        rows: dict[str, int] = {}
        for run in self.runs:
            rows[run.name] = max(rows.get(run.name, 0), run.source + run.rows)
        return {name: (count, *self.shape[1:]) for name, count in rows.items()}


def weights(architecture: Architecture, *, vocab: int, head: str) -> list[Weight]:
    """Every weight of a model with `vocab` embedding rows and the `head` of that name."""
    everything = _part_weights(architecture, _OUTSIDE, None, vocab=vocab)
    found = [weight for weight in everything if weight.key not in unpublished(head)]
    for layer in range(architecture.layers):
        found += _part_weights(architecture, _INSIDE, layer, vocab=vocab)
    for key, name in HEAD_NAMES[head].items():
        rows = 1 if head == "value" else CLASSES
        shape = (rows,) if key.endswith("bias") else (rows, architecture.hidden)
        runs = (Run(name=name, source=0, target=0, rows=rows),)
        found.append(Weight(key=key, layer=None, shape=shape, runs=runs))
    return found


def head_of(names: Container[str]) -> str:
    """The head whose weights are among `names` of Hugging Face's, or of Megatron's; or `none`."""
    for head, pairs in HEAD_NAMES.items():
        if any(key in names or find_name(name, names) for key, name in pairs.items()):
            return head
    return "none"


def find_name(name: str, names: Container[str], *, prefix: str = "") -> str:
    """What `names` call transformers' tensor `name`, as it is or in a wrapper; empty if nothing.

    Those with `prefix` go first.
    """
    return next((p + name for p in (prefix, *WRAPPERS) if p + name in names), "")


def _part_weights(
    architecture: Architecture, patterns: dict[str, str], layer: int | None, *, vocab: int
) -> Iterator[Weight]:
    stems = family_of(architecture).STEMS
    for part, pattern in patterns.items():
        for kind, shape in _shapes(architecture, part, vocab):
            names = [f"{stem}.{kind}".replace("{}", str(layer)) for stem in stems[part]]
            if part == "qkv":
                runs = _grouped(architecture, names)
            else:
                rows = shape[0] // len(names)
                runs = [
                    Run(name=name, source=0, target=index * rows, rows=rows)
                    for index, name in enumerate(names)
                ]
            key = pattern.format(kind)
            yield Weight(key=key, layer=layer, shape=shape, runs=tuple(runs))


def _shapes(
    architecture: Architecture, part: str, vocab: int
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """("weight" or "bias", shape) of a part; nothing where the architecture has none."""
    a, attention = architecture, architecture.attention
    heads = attention.heads * attention.size
    matrices = {
        "embedding": (vocab, a.hidden),
        "positions": (a.positions + a.position_offset, a.hidden),
        "output": (vocab, a.hidden),
        "qkv": (heads + 2 * attention.groups * attention.size, a.hidden),
        "proj": (a.hidden, heads),
        "fc1": (a.ffn * (2 if a.gated else 1), a.hidden),
        "fc2": (a.hidden, a.ffn),
    }
    if (part == "positions" and attention.rope) or (part == "output" and a.tied):
        return
    if part in matrices:
        yield "weight", matrices[part]
        if (part == "qkv" and attention.qkv_bias) or (part in ("proj", "fc1", "fc2") and a.bias):
            yield "bias", matrices[part][:1]
    elif part in ("q_norm", "k_norm"):
        if attention.qk_norm:
            yield "weight", (attention.size,)
    elif a.norm.affine:
        yield "weight", (a.hidden,)
        if a.norm.kind == "layer":
            yield "bias", (a.hidden,)


def _grouped(architecture: Architecture, names: Sequence[str]) -> list[Run]:
    """Rows of queries [G * Q * D], keys and values [G * D] as [G, Q + 1 + 1, D]."""
    attention = architecture.attention
    query = attention.heads // attention.groups * attention.size
    runs: list[Run] = []
    target = 0
    for group in range(attention.groups):
        for name, rows in zip(names, (query, attention.size, attention.size), strict=True):
            runs.append(Run(name=name, source=group * rows, target=target, rows=rows))
            target += rows
    return runs
