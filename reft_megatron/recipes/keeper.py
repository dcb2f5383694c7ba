"""Which checkpoints a run keeps, and which one it goes on from.

Owns the run's `checkpoints` folder: one folder a step, a link `latest` to the newest, a link `best`
to the one with the highest dev accuracy, and the pruning of all others. A checkpoint counts once it
has its manifest; half-written ones are never seen.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from reft_megatron.config import CheckpointConfig
from reft_megatron.errors import CheckpointError
from reft_megatron.policy import Policy

__all__ = ["CheckpointKeeper", "Progress"]

Progress = dict[str, Any]
"""What a recipe must know to go on: plain JSON."""


class CheckpointKeeper:
    """The checkpoints of one run."""

    def __init__(self, folder: Path, config: CheckpointConfig, *, main: bool) -> None:
        """Keep them in `folder`; only the `main` rank links and prunes."""
        self._folder = folder
        self._config = config
        self._main = main

    def resume(self, policy: Policy, *, enabled: bool) -> Progress:
        """Restore the newest checkpoint into `policy` and return its progress; {} if none.

        With `enabled` False a run folder that already holds checkpoints is refused.
        """
        found = self._complete()
        if not enabled and found:
            raise CheckpointError(
                f"{self._folder} already holds checkpoints and run.resume is false. "
                "Set run.resume=true to continue, or choose another run.name."
            )
        return policy.load(found[-1], weights_only=False) if found else {}

    def save(self, policy: Policy, progress: Progress, *, best: bool) -> None:
        """Save `policy` as step `progress["step"]`; every rank calls."""
        target = self._folder / f"step_{progress['step']:08d}"
        if target not in self._complete():
            self._clear(target, policy)
            policy.save(target, extra=progress)
        if self._main:
            self._link("latest", target)
            if best:
                self._link("best", target)
            self._prune()
        policy.mesh.world.barrier()

    def _complete(self) -> list[Path]:
        return sorted(p.parent for p in self._folder.glob("step_*/manifest.json"))

    def _clear(self, target: Path, policy: Policy) -> None:
        """Remove a half-removed checkpoint that stands where a new one is to be written."""
        if self._main:
            self._folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(target, ignore_errors=True)
        policy.mesh.world.barrier()

    def _link(self, name: str, target: Path) -> None:
        fresh = self._folder / f".{name}.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target.name)
        fresh.replace(self._folder / name)

    def _prune(self) -> None:
        kept = {(self._folder / name).resolve() for name in ("latest", "best")}
        for old in self._complete()[: -self._config.keep_last]:
            if old.resolve() not in kept:
                # The manifest goes first: what is half removed must not look whole.
                (old / "manifest.json").unlink()
                shutil.rmtree(old)
