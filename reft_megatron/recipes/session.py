"""What every recipe starts from: a mesh, a task, a tokenizer, a log, a folder, a way to stop.

Owns setting these up in an order that meets every user mistake before long work starts, SIGTERM (the
run saves and ends cleanly), the budget of skipped steps, and the end of a run: summary and report.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import torch

from reft_megatron.config import Config, to_yaml
from reft_megatron.errors import TrainingError
from reft_megatron.log import RunLog
from reft_megatron.log.report import write_run_report
from reft_megatron.policy import Policy, StepStats, join, leave
from reft_megatron.recipes.answering import Answerer
from reft_megatron.recipes.keeper import CheckpointKeeper
from reft_megatron.tasks import load_task
from reft_megatron.tokenizer import load_tokenizer

__all__ = ["Session", "due"]


class Session:
    """One run of one recipe, as a context manager."""

    def __init__(self, config: Config, recipe: str) -> None:
        """Join the ranks and read everything the config names.

        Raises ConfigError or DataError, on every rank, before any model is built.
        """
        self.config = config
        self.recipe = recipe
        self.folder = Path(config.run.dir) / config.run.name
        self.task = load_task(config.task)
        self.tokenizer = load_tokenizer(config.tokenizer.path)
        self.mesh = join(
            config.parallel,
            seed=config.run.seed,
            timeout_s=config.run.collective_timeout_s,
            threads=config.run.threads,
        )
        self.keeper = CheckpointKeeper(
            self.folder / "checkpoints", config.checkpoint, main=self.mesh.main
        )
        self.log: RunLog
        self.skipped = 0
        """Optimizer steps skipped so far."""
        self.best = -1.0
        """Best dev accuracy so far; -1 before the first evaluation."""
        self._stop = False

    def __enter__(self) -> Self:
        self._old_handler = signal.signal(signal.SIGTERM, self._on_sigterm)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGTERM, self._old_handler)
        if hasattr(self, "log"):
            self.log.__exit__(kind, error, trace)
        if error is None:
            # After an error other ranks may be waiting elsewhere; a collective would hang.
            leave()

    def answerer(self) -> Answerer:
        """The asking and judging of this run."""
        return Answerer(self.config, self.mesh, self.task, self.tokenizer)

    def reference(self) -> Policy | None:
        """The frozen policy that KL is measured against; None if the KL term is off."""
        folder = self.config.model.reference or self.config.model.load
        if self.config.ppo.kl_coef == 0:
            return None
        policy = Policy(self.config, self.mesh, self.tokenizer, total_steps=None)
        if folder:
            policy.load(Path(folder), weights_only=True)
        return policy

    @property
    def layout(self) -> dict[str, Any]:
        """How micro-batches are laid out: arguments of `RolloutBuffer.micro_batches`."""
        parallel = self.config.parallel
        return {
            "packed": self.config.optimizer.packing,
            "length_multiple": parallel.tensor if parallel.sequence else 1,
        }

    @property
    def batch_multiple(self) -> int:
        """Micro-batches per data rank come in multiples of this (interleaved pipelines)."""
        parallel = self.config.parallel
        return parallel.pipeline if parallel.virtual_pipeline > 1 else 1

    def start(self, policy: Policy) -> int:
        """Take initial weights, resume if the run has a checkpoint, open the log.

        Returns the step of the checkpoint, 0 at a fresh start.
        """
        progress = self.keeper.resume(policy, enabled=self.config.run.resume)
        if not progress and self.config.model.load:
            policy.load(Path(self.config.model.load), weights_only=True)
        step = int(progress.get("step", 0))
        self.skipped = int(progress.get("skipped", 0))
        self.best = float(progress.get("best", -1.0))
        self.log = RunLog(self.folder, self.config, main=self.mesh.main, start_step=step + 1)
        if self.mesh.main:
            (self.folder / "config.yaml").write_text(to_yaml(self.config))
        self.log.say(self._greeting(policy, step))
        return step

    def is_best(self, accuracy: float) -> bool:
        """True, and remembered, if `accuracy` on the dev split beats all before."""
        if accuracy <= self.best:
            return False
        self.best = accuracy
        return True

    def save(self, policy: Policy, step: int, *, best: bool) -> None:
        """Save a checkpoint as step `step`; every rank calls."""
        with self.log.phase("checkpoint", None, "files"):
            progress = {"step": step, "best": self.best, "skipped": self.skipped}
            self.keeper.save(policy, progress, best=best)

    def interrupted(self, policy: Policy, step: int) -> dict[str, Any]:
        """Save and end after SIGTERM; the same command continues the run."""
        self.save(policy, step, best=False)
        self.log.say(f"stopped by SIGTERM after step {step}; run the same command to go on")
        return {"interrupted_at": step}

    def count_skip(self, stats: StepStats, step: int, ids: Sequence[str]) -> None:
        """Count a skipped step and name it; TrainingError on every rank past the budget.

        `ids` are the problems of this data rank's batch, by sequence index.
        """
        if stats.applied:
            return
        self.skipped += 1
        bad = sorted({ids[i] for indices in stats.bad_batches for i in indices})
        where = f"rank {self.mesh.world.rank}: problems {', '.join(bad)}" if bad else ""
        reports = [text for text in self.mesh.world.gather_objects(where) if text]
        what = f"loss {stats.loss}, gradient norm {stats.grad_norm}"
        text = f"step {step} skipped ({what}) " + "; ".join(reports)
        self.log.say(text)
        if self.skipped > self.config.run.max_skipped_steps:
            raise TrainingError(
                f"{self.skipped} optimizer steps were skipped for a non-finite loss or gradient, "
                f"more than run.max_skipped_steps={self.config.run.max_skipped_steps}; the last: "
                f"{text}. Lower optimizer.lr or look at those problems."
            )

    def stopping(self) -> bool:
        """True on every rank once any of them got SIGTERM; every rank must ask together."""
        flag = torch.tensor(float(self._stop), device=self.mesh.device)
        return bool(self.mesh.world.max(flag))

    def finish(self, summary: dict[str, Any]) -> dict[str, Any]:
        """Write `summary.json` and the report; returns the summary."""
        if self.mesh.main:
            text = json.dumps(summary, indent=1)
            (self.folder / "summary.json").write_text(text + "\n")
            report = write_run_report(self.folder, to_yaml(self.config))
            self.log.say(f"summary: {text}\nreport: {report}")
        self.mesh.world.barrier()
        return summary

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        self._stop = True

    def _greeting(self, policy: Policy, step: int) -> str:
        mesh = self.mesh
        where = f"resumed after step {step}" if step else "fresh start"
        return (
            f"{self.recipe} {self.config.run.name}: {policy.architecture.name}, {self.task.name} "
            f"({self.task.form}), {mesh.world.size} ranks = tensor {mesh.tensor.size} x pipeline "
            f"{mesh.pipeline.size} x data {mesh.data.size}, {mesh.device.type}, {where}"
        )


def due(done: int, every: int, last: int) -> bool:
    """True if something done every `every` units (0: only at the end) is due after `done`."""
    return done == last or (every > 0 and done % every == 0)
