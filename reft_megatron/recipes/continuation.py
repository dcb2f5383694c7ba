"""What may change when a run goes on, and what makes it another run.

Owns the list. A folder that claims the results of settings it was not made with is worse than none,
so a resumed run with another learning rate, seed or checkpoint to start from is refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

from reft_megatron.config import Config, load_config
from reft_megatron.errors import ConfigError

__all__ = ["changed_settings", "changed_since"]

_MAY_CHANGE = (
    *("run.dir", "run.name", "run.resume", "run.threads", "run.collective_timeout_s", "parallel."),
    *("run.max_skipped_steps", "rewards.workers", "sft.stop_after_epoch"),
    *("generate.slots", "generate.prefill_tokens", "generate.unwatched_steps"),
    *("rollouts.record", "rollouts.mismatch_", "model.reference_waits"),
    *("pretrain.steps", "ppo.iterations", "online_sl.iterations"),
    *("log.", "checkpoint.", "evaluate."),
)
"""Settings that a run may go on with changed: how it runs, on what layout, and how long. (A longer
run has a longer schedule: where `optimizer.schedule` decays, the learning rate follows the new one
from there.)"""


def changed_settings(saved: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """`section.key: saved -> asked` of every setting that differs and that a run must keep.

    Both are `dataclasses.asdict(config)`; a setting that one of them lacks is not compared.
    """
    return [
        f"{section}.{key}: {values[key]!r} -> {asked[section][key]!r}"
        for section, values in saved.items()
        for key in values
        if not f"{section}.{key}".startswith(_MAY_CHANGE)
        and key in asked.get(section, {})
        and values[key] != asked[section][key]
    ]


def changed_since(folder: Path, config: Config) -> list[str] | None:
    """`changed_settings` since the last start of a run in `folder`; None if there was none."""
    path = folder / "config.yaml"
    if path.exists():
        # What an older version wrote may not load; then it is no start of this run.
        with contextlib.suppress(ConfigError):
            saved = dataclasses.asdict(load_config(path))
            return changed_settings(saved, dataclasses.asdict(config))
    return None
