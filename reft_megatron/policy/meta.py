"""What a checkpoint says of itself: its `meta.json`.

Owns the description of a model and its tokenizer that every writer of checkpoints puts there, and
reading it. What a run adds to it (layout, precision, version) is the run's affair.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reft_megatron.errors import CheckpointError
from reft_megatron.policy.families import Architecture, from_dict
from reft_megatron.tokenizer import Tokenizer

__all__ = [
    "META",
    "TOKEN_IDS",
    "architecture_in",
    "describe",
    "differing",
    "identity",
    "read_meta",
    "token_ids",
]

META = "meta.json"
"""Name of the file."""
TOKEN_IDS = ("eos_token_id", "pad_token_id")
"""Keys of `token_ids`."""


def describe(architecture: Architecture, tokenizer: Tokenizer, *, rows: int) -> dict[str, Any]:
    """Model and tokenizer; the embedding has `rows`."""
    return {
        "architecture": identity(architecture, rows=rows),
        "vocab_size": tokenizer.vocab_size,
        "tokenizer": tokenizer.fingerprint,
        **token_ids(tokenizer),
    }


def token_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """Ids of the tokens that end and pad a text, by their keys in a config.json."""
    return dict(zip(TOKEN_IDS, (tokenizer.eos_id, tokenizer.pad_id), strict=True))


def identity(architecture: Architecture, *, rows: int) -> dict[str, Any]:
    """All that an architecture is, its name included, with `rows` of embedding."""
    return {**asdict(architecture), "vocab": rows}


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Keys that make two identities different models.

    Neither the name does, nor the size of random weights, which are there no more.
    """
    keys = dict.fromkeys([*one, *other])
    return [k for k in keys if k not in ("name", "init_std") and one.get(k) != other.get(k)]


def read_meta(folder: Path) -> dict[str, Any]:
    """The description in the checkpoint `folder`; CheckpointError if there is none."""
    try:
        return dict(json.loads((folder / META).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        raise CheckpointError(
            f"{folder} says nothing of its model: it has no readable {META}. Point at a folder "
            "written by a finished save."
        ) from None


def architecture_in(meta: dict[str, Any], folder: Path) -> Architecture:
    """The architecture that `meta` describes, named after its `folder` where it has no name.

    CheckpointError if it is none that is known.
    """
    try:
        tree = meta["architecture"]
        return from_dict({**tree, "name": tree["name"] or folder.resolve().name})
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(f"{folder / META} describes no model that is known.") from None
