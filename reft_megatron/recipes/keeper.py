"""Which checkpoints a run keeps, and which one it goes on from.

Owns the run's `checkpoints` folder: one folder a step, a link `latest` to the newest, a link `best`
to the one that did best on dev problems, and the pruning of all others. A checkpoint counts once it
has its manifest; half-written ones are never seen. The main rank alone decides, links and removes.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from reft_megatron.config import CheckpointConfig
from reft_megatron.errors import CheckpointError
from reft_megatron.policy import Policy
from reft_megatron.policy.meta import read_meta

__all__ = ["CheckpointKeeper", "Progress"]

Progress = dict[str, Any]
"""What a recipe must know to go on, as JSON: at least `step`, `best_step` (0: none), `recipe`."""


class CheckpointKeeper:
    """The checkpoints of one run."""

    def __init__(self, folder: Path, config: CheckpointConfig) -> None:
        self._folder = folder
        self._config = config

    @property
    def used(self) -> bool:
        """True if the folder holds a checkpoint."""
        return bool(self._complete())

    @property
    def recipe(self) -> str:
        """The recipe that saved the newest checkpoint; empty if there is none.

        Raises CheckpointError if that cannot be read.
        """
        found = self._complete()
        return str(read_meta(found[-1])["extra"]["recipe"]) if found else ""

    def resume(self, policy: Policy, *, enabled: bool) -> Progress:
        """Restore the newest checkpoint into `policy` and return its progress; {} if none.

        With `enabled` False a run folder that already holds checkpoints is refused.
        """
        found = policy.mesh.world.broadcast_object(self._complete())
        if not found:
            return {}
        if not enabled:
            raise CheckpointError(
                f"{self._folder} already holds checkpoints and run.resume is false. "
                "Set run.resume=true to continue, or choose another run.name."
            )
        progress = policy.load(found[-1], weights_only=False)
        # The run may have been killed between a checkpoint and its links.
        self._tidy(policy, progress)
        return progress

    def save(self, policy: Policy, progress: Progress) -> None:
        """Save `policy` as step `progress["step"]`, unless that is done; every rank calls."""
        world = policy.mesh.world
        target = self._step(progress["step"])
        if not world.broadcast_object(target in self._complete()):
            if policy.mesh.main:
                self._folder.mkdir(parents=True, exist_ok=True)
                # Half removed, or it would be complete.
                shutil.rmtree(target, ignore_errors=True)
            world.barrier()
            policy.save(target, extra=progress)
        self._tidy(policy, progress)

    def _complete(self) -> list[Path]:
        return sorted(path.parent for path in self._folder.glob("step_*[0-9]/manifest.json"))

    def _step(self, step: int) -> Path:
        return self._folder / f"step_{step:08d}"

    def _tidy(self, policy: Policy, progress: Progress) -> None:
        """Set the links, and remove what is neither linked nor recent, and drafts."""
        if policy.mesh.main:
            links = {"latest": self._step(progress["step"])}
            if progress["best_step"]:
                links["best"] = self._step(progress["best_step"])
            complete = self._complete()
            for name, target in links.items():
                if target in complete:
                    self._link(name, target)
            for old in complete[: -self._config.keep_last]:
                if old not in links.values():
                    # The manifest goes first: what is half removed must not look whole.
                    (old / "manifest.json").unlink()
                    shutil.rmtree(old)
            for draft in self._folder.glob("*.partial"):
                shutil.rmtree(draft)
        policy.mesh.world.barrier()

    def _link(self, name: str, target: Path) -> None:
        fresh = self._folder / f".{name}.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target.name)
        fresh.replace(self._folder / name)
