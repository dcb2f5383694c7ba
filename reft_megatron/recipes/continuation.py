"""What may change when a run goes on, and what makes it another run.

Owns the list. A folder that claims the results of settings it was not made with is worse than none,
so a resumed run with another learning rate, seed or checkpoint to start from is refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import xxhash

from reft_megatron.config import Config, load_config
from reft_megatron.config.manner import MANNER
from reft_megatron.config.settings_file import SETTINGS
from reft_megatron.errors import ConfigError

__all__ = ["changed_settings", "changed_since", "settings_digest"]

_MAY_CHANGE = (
    *MANNER,
    *("run.max_skipped_steps", "sft.stop_after_epoch"),
    *("pretrain.steps", "ppo.iterations", "online_sl.iterations", "evaluate."),
)
"""Settings that a run may go on with changed: how it runs, on what layout, and how long. (A longer
run has a longer schedule: where `optimizer.schedule` decays, the learning rate follows the new one
from there.)"""

_MUST_STAY = {"evaluate": ("evaluate.split", "evaluate.samples", "evaluate.max_problems")}
"""Of those, by recipe, settings that say what a run is of; nothing else reads them."""


def changed_settings(
    saved: dict[str, Any], asked: dict[str, Any], *, recipe: str = ""
) -> list[str]:
    """`section.key: saved -> asked` of every setting that differs and that a run must keep.

    Both are `dataclasses.asdict(config)`; a setting that one of them lacks is not compared.
    """
    return [
        f"{section}.{key}: {values[key]!r} -> {asked[section][key]!r}"
        for section, values in saved.items()
        for key in values
        if _must_stay(f"{section}.{key}", recipe)
        and key in asked.get(section, {})
        and values[key] != asked[section][key]
    ]


def settings_digest(config: Config, recipe: str) -> str:
    """A digest of the recipe and of the settings that a run must keep, where not the default.

    So it stays what it is when a later version has more settings.
    """
    usual = dataclasses.asdict(Config())
    kept = {
        f"{section}.{key}": value
        for section, values in dataclasses.asdict(config).items()
        for key, value in values.items()
        if _must_stay(f"{section}.{key}", recipe) and value != usual[section][key]
    }
    content = json.dumps([recipe, kept], sort_keys=True)
    return xxhash.xxh3_128_hexdigest(content.encode())


def changed_since(folder: Path, config: Config, *, recipe: str = "") -> list[str] | None:
    """`changed_settings` since the last start of a run in `folder`; None if there was none."""
    path = folder / SETTINGS
    if path.exists():
        # What an older version wrote may not load; then it is no start of this run.
        with contextlib.suppress(ConfigError):
            saved = dataclasses.asdict(load_config(path))
            return changed_settings(saved, dataclasses.asdict(config), recipe=recipe)
    return None


def _must_stay(name: str, recipe: str) -> bool:
    return name in _MUST_STAY.get(recipe, ()) or not name.startswith(_MAY_CHANGE)
