"""Model families, one file each; this page finds architectures among them."""

from __future__ import annotations

import difflib
from pathlib import Path
from types import ModuleType

from reft_megatron.errors import CheckpointError, ConfigError
from reft_megatron.policy.families import llama, opt
from reft_megatron.policy.families.architecture import (
    Architecture,
    Attention,
    Norm,
    Rope,
    from_dict,
)
from reft_megatron.policy.families.config_file import ConfigFile

__all__ = [
    "Architecture",
    "Attention",
    "Norm",
    "Rope",
    "family_of",
    "find_architecture",
    "from_dict",
    "presets",
    "read_architecture",
]

_FAMILIES = (opt, llama)


def presets() -> dict[str, Architecture]:
    """Every named architecture."""
    return {name: size for family in _FAMILIES for name, size in family.PRESETS.items()}


def find_architecture(name: str) -> Architecture:
    """The named architecture; ConfigError with the nearest name when there is none."""
    known = presets()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"unknown model.preset {name!r}; the nearest is {near!r}, all are {', '.join(known)}."
        )
    return known[name]


def read_architecture(folder: Path) -> Architecture:
    """The architecture of a Hugging Face folder, by its config.json.

    Raises CheckpointError for a file that is missing, of another family, or says something that is
    not supported.
    """
    file = ConfigFile.open(folder)
    return _family(file.model_type, str(folder)).read(file)


def family_of(architecture: Architecture) -> ModuleType:
    """The family file that knows `architecture`'s names."""
    return _family(architecture.model_type, architecture.name)


def _family(model_type: str, where: str) -> ModuleType:
    for family in _FAMILIES:
        if model_type in family.MODEL_TYPES:
            return family
    known = [kind for family in _FAMILIES for kind in family.MODEL_TYPES]
    raise CheckpointError(
        f"{where} is of model type {model_type!r}, and only {', '.join(known)} are supported."
    )
