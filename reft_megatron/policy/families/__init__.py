"""Model families: one file each; this page finds a preset among them."""

from __future__ import annotations

import difflib

from reft_megatron.errors import ConfigError
from reft_megatron.policy.families import galactica
from reft_megatron.policy.families.architecture import Architecture

__all__ = ["Architecture", "find_architecture", "presets"]


def presets() -> dict[str, Architecture]:
    """Every named architecture."""
    return dict(galactica.PRESETS)


def find_architecture(name: str) -> Architecture:
    """The named architecture; ConfigError with the nearest name when there is none."""
    known = presets()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"unknown model.preset {name!r}; the nearest is {near!r}, all are {', '.join(known)}."
        )
    return known[name]
