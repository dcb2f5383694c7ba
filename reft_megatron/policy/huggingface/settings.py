"""The config.json of a folder that is written.

Owns what changes in it: a file that came with the model travels byte for byte, unless dtype, head
or vocabulary are others now; a model that never had one gets it from its family.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch

from reft_megatron.errors import CheckpointError
from reft_megatron.policy.families import Architecture, family_of

__all__ = ["DTYPES", "choose_dtype", "write_settings"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Dtypes of weights by their short names."""

_FILE = "config.json"
_CLASSIFIER = {
    "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
    "label2id": {"LABEL_0": 0, "LABEL_1": 1},
}


def choose_dtype(
    asked: str, travelling: Mapping[str, bytes], *, stored: torch.dtype
) -> torch.dtype:
    """The dtype to write what is `stored` in another: that of `asked`, a key of DTYPES.

    `stored` keeps it; `auto` takes what the config.json that travels says, and keeps it where none
    says anything.
    """
    if asked in DTYPES:
        return DTYPES[asked]
    if asked == "auto":
        tree = _read(travelling)
        said = str(tree.get("dtype") or tree.get("torch_dtype") or "").removeprefix("torch.")
        return next((dtype for dtype in DTYPES.values() if str(dtype) == f"torch.{said}"), stored)
    return stored


def write_settings(
    architecture: Architecture,
    travelling: Mapping[str, bytes],
    *,
    head: str,
    dtype: torch.dtype,
    tokens: Mapping[str, int],
) -> bytes:
    """config.json of a model with that head, saved in `dtype`.

    `tokens` are ids such as `eos_token_id`, for what no file says; a classifier looks for padding.
    """
    kind = "ForSequenceClassification" if head == "rerank" else "ForCausalLM"
    name = family_of(architecture).CLASSES[architecture.model_type] + kind
    tree = _read(travelling) or {
        **family_of(architecture).write(architecture, architecture.vocab),
        "model_type": architecture.model_type,
    }
    key = "dtype" if "dtype" in tree else "torch_dtype"
    wanted: dict[str, Any] = {
        "architectures": [name],
        key: str(dtype).removeprefix("torch."),
        "vocab_size": architecture.vocab,
        **(_CLASSIFIER if head == "rerank" else {}),
    }
    if _FILE not in travelling or head == "rerank":
        wanted |= {name: token for name, token in tokens.items() if tree.get(name) is None}
    if _FILE in travelling and all(tree.get(name) == value for name, value in wanted.items()):
        return travelling[_FILE]
    return (json.dumps({**tree, **wanted}, indent=2) + "\n").encode()


def _read(travelling: Mapping[str, bytes]) -> dict[str, Any]:
    """The config.json that travels; empty if none does."""
    try:
        return dict(json.loads(travelling.get(_FILE, b"{}")))
    except ValueError as error:
        raise CheckpointError(f"the config.json in the checkpoint is not valid: {error}.") from None
