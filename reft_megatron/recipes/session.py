"""What every recipe starts from: mesh, task, tokenizer, log, a way to stop.

Owns setting these up in an order that meets every user mistake before long work starts, building
policies, SIGTERM (a run that trains saves and ends cleanly), the budget of skipped steps, and the
end of a run: summary and report.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import torch

from reft_megatron.config import Config, to_yaml
from reft_megatron.config.settings_file import recipe_in, write_settings
from reft_megatron.errors import CheckpointError, ConfigError, TrainingError
from reft_megatron.files import write_whole
from reft_megatron.log import RunLog
from reft_megatron.log.page import Table
from reft_megatron.log.report import write_run_report
from reft_megatron.ops import kernels
from reft_megatron.policy import (
    Policy,
    StepStats,
    architecture_of,
    join,
    leave,
    precision_note,
    tokenizer_path,
    weights_fingerprint,
)
from reft_megatron.policy.plan import Case, available_memory, check_memory
from reft_megatron.pulse import Pulse
from reft_megatron.recipes.answering import Answerer
from reft_megatron.recipes.continuation import changed_settings, changed_since
from reft_megatron.recipes.keeper import CheckpointKeeper
from reft_megatron.recipes.readiness import check_head, check_reward, make_folder
from reft_megatron.tasks import load_task
from reft_megatron.tokenizer import load_tokenizer

__all__ = ["Session"]


class Session:
    """One run of one recipe, as a context manager; `log` is there once it has started."""

    log: RunLog

    def __init__(self, config: Config, recipe: str) -> None:
        """Read everything the config names, make the run's folder, and join the ranks.

        Raises ConfigError, DataError or CheckpointError, on every rank, before any model is built;
        a folder is made only for a run whose model, data and tokenizer are there.
        """
        self.config = config = _follow_link(config)
        self.recipe = recipe
        self.folder = Path(config.run.dir) / config.run.name
        check_head(config, recipe)
        self.architecture = architecture_of(config.model)
        """Of every model of the run; the files that say it are not read again."""
        self.task = load_task(config.task)
        self.tokenizer = load_tokenizer(tokenizer_path(config))
        make_folder(self.folder)
        self.mesh = join(
            config.parallel,
            seed=config.run.seed,
            timeout_s=config.run.collective_timeout_s,
            threads=config.run.threads,
        )
        self._operators = kernels.summary()
        world = self.mesh.world
        self._pulse = None
        if world.size > 1:
            self._pulse = Pulse(world.store, rank=world.rank, size=world.size)
        self._check_memory()
        check_reward(config, self.task, self.mesh)
        self.skipped = 0
        """Optimizer steps skipped so far."""
        self.best: float | None = None
        """Best score on dev problems so far; None before the first evaluation."""
        self.best_step = 0
        """Step of the checkpoint that reached it; 0 before the first evaluation."""
        self.continues = False
        """True if, once started, this goes on from an earlier start with the same settings."""
        self._keeper = CheckpointKeeper(self.folder / "checkpoints", config.checkpoint)
        self._resumes = self.mesh.world.broadcast_object(self._keeper.used)
        self._check_recipe()
        self._closing = ExitStack()
        self._stop = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._closing.__exit__(kind, error, trace)
            # Collectives fail so, whatever the backend, when a rank is gone.
            if isinstance(error, RuntimeError) and self._pulse is not None:
                self._name_who_is_gone(error)
        finally:
            if self._pulse is not None:
                self._pulse.close()
        if error is None:
            # After an error other ranks may be waiting elsewhere; a collective would hang.
            leave()

    @functools.cached_property
    def answerer(self) -> Answerer:
        """The asking and judging of this run; its workers start when it is first asked for."""
        made = Answerer(
            self.config,
            self.mesh,
            architecture=self.architecture,
            task=self.task,
            tokenizer=self.tokenizer,
        )
        return self._closing.enter_context(made)

    @property
    def origin(self) -> str:
        """Folder that the initial weights come from; empty where they are random."""
        return self.config.model.load or self.config.model.hf

    @functools.cached_property
    def weights(self) -> str:
        """Fingerprint of the initial weights, and of no others; all ranks ask, the main one reads.

        Raises CheckpointError, on every rank, if they are not there.
        """
        found = ""
        with self.mesh.world.together():
            if self.mesh.main:
                found = weights_fingerprint(self.config)
        return self.mesh.world.broadcast_object(found)

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

    def build(self, *, total_steps: int | None) -> Policy:
        """A policy of the run's model, for `start` or `start_untrained`; None builds it frozen.

        One that trains, in a run that goes on, has no weights before `start` reads them.
        """
        return Policy(
            self.config,
            self.mesh,
            self.tokenizer,
            total_steps=total_steps,
            architecture=self.architecture,
            weights=total_steps is None or not self._resumes,
        )

    def start(self, policy: Policy) -> int:
        """Take initial weights, resume if the run has a checkpoint, open the log.

        Returns the step of the checkpoint, 0 at a fresh start. Raises CheckpointError for a
        checkpoint that is unusable or of other settings.
        """
        progress = self._keeper.resume(policy, enabled=self.config.run.resume)
        if not progress:
            self._load_weights(policy)
        else:
            self._check_settings(progress["config"])
        self.continues = bool(progress) or self._started_alike()
        # From here on there is something to save. (Launchers may pass one signal on twice.)
        old = signal.signal(signal.SIGTERM, self._on_sigterm)
        self._closing.callback(signal.signal, signal.SIGTERM, old)
        step = int(progress.get("step", 0))
        self.skipped = int(progress.get("skipped", 0))
        self.best = progress.get("best")
        self.best_step = int(progress.get("best_step", 0))
        state = f"resumed after step {step}" if step else "fresh"
        if policy.redrawn:
            state += " (another layout saved it, so its random state is not taken)"
        self._open(policy, first=step + 1, state=state)
        return step

    def start_untrained(self, policy: Policy) -> None:
        """Take the weights of `model.load` and open the log anew, for a run that trains nothing."""
        self.continues = self._started_alike()
        self._load_weights(policy)
        self._open(policy, first=0, state=self.origin or "random weights")

    def is_best(self, score: float, step: int) -> bool:
        """True, and remembered, if `score` on dev problems at `step` beats all before."""
        if self.best is not None and score <= self.best:
            return False
        self.best, self.best_step = score, step
        return True

    def save(self, policy: Policy, step: int) -> None:
        """Save a checkpoint as step `step`; every rank calls."""
        progress = {
            "recipe": self.recipe,
            "step": step,
            "best": self.best,
            "best_step": self.best_step,
            "skipped": self.skipped,
            "config": dataclasses.asdict(self.config),
        }
        with self.log.phase("checkpoint", None, "files"):
            self._keeper.save(policy, progress)

    def optimizer_metrics(self, stats: StepStats) -> dict[str, float]:
        """What every recipe reports of an optimizer step."""
        return {
            "train/loss": stats.loss,
            "train/grad_norm": stats.grad_norm,
            "train/lr": stats.lr,
            "train/skipped_steps": self.skipped,
        }

    def count_skip(self, stats: StepStats, step: int, ids: Sequence[str]) -> None:
        """Count a skipped step and name it; TrainingError on every rank past the budget.

        `ids` are the problems that the indices of `stats.bad_batches` count, looked at on the
        writer of each replica. Where every loss was finite and the gradient was not, any of them
        may be the cause.
        """
        if stats.applied:
            return
        self.skipped += 1
        bad = ""
        if self.mesh.writer:
            indices: Sequence[int] = [i for batch in stats.bad_batches for i in batch]
            if math.isfinite(stats.loss):
                indices = range(len(ids))
            names = ", ".join(sorted({ids[i] for i in indices}))
            bad = f"rank {self.mesh.world.rank}: problems {names}" if names else ""
        reports = "; ".join(filter(None, self.mesh.world.gather_objects(bad)))
        text = f"step {step} (loss {stats.loss}, gradient norm {stats.grad_norm}; {reports})"
        self.log.say(f"skipped {text}")
        budget = self.config.run.max_skipped_steps
        if self.skipped > budget:
            raise TrainingError(
                f"{self.skipped} optimizer steps were skipped for a loss or gradient that is not "
                f"finite, more than run.max_skipped_steps={budget}; the last was {text}. Lower "
                "optimizer.lr or look at those problems."
            )

    def watch_mismatch(self, ratio: float, step: int) -> None:
        """Say so if sampler and trainer differ much in their log-probs; TrainingError if too much.

        `ratio` is the mean of e^|difference| over the tokens of the policy's own rollouts.
        """
        limits = self.config.rollouts
        text = f"iteration {step}: sampler and trainer differ by a mean ratio of {ratio:.4f}"
        if math.isnan(ratio):
            raise TrainingError(
                f"{text}: the policy's log-probs are no numbers any more, so its weights are "
                "ruined. Go on from an earlier checkpoint with a lower optimizer.lr."
            )
        if ratio > limits.mismatch_stop:
            raise TrainingError(
                f"{text}, more than rollouts.mismatch_stop={limits.mismatch_stop}. The policy is "
                "not trained on its own samples: look at precision and kernels, or raise the limit."
            )
        if ratio > limits.mismatch_warn:
            self.log.say(f"{text}, above rollouts.mismatch_warn={limits.mismatch_warn}")

    def stopping(self) -> bool:
        """True on every rank once any of them got SIGTERM; every rank must ask together."""
        flag = torch.tensor(float(self._stop), device=self.mesh.device)
        return bool(self.mesh.world.max(flag))

    def interrupted(self, policy: Policy, step: int) -> dict[str, Any]:
        """Save and end after SIGTERM; the same command continues the run."""
        self.save(policy, step)
        self.log.say(f"stopped by SIGTERM after step {step}; run the same command to go on")
        return {"interrupted_at": step}

    def finish(self, summary: dict[str, Any], *, tables: Sequence[Table] = ()) -> dict[str, Any]:
        """Write the report and, last, `summary.json`, the mark of a finished run.

        `tables` show, on the terminal and in the report, what the summary holds in objects.
        """
        if self.mesh.main:
            if self.config.log.report:
                report = write_run_report(self.folder, to_yaml(self.config), tables)
                self.log.say(f"report: {report}")
            write_whole(self.folder / "summary.json", json.dumps(summary, indent=1) + "\n")
            for table in tables:
                self.log.show(**dataclasses.asdict(table))
            plain = {key: value for key, value in summary.items() if not isinstance(value, dict)}
            self.log.say(f"summary: {json.dumps(plain, indent=1)}")
        self.mesh.world.barrier()
        return summary

    def _name_who_is_gone(self, error: RuntimeError) -> None:
        """TrainingError that names the ranks that show no life, if `error` came of that."""
        assert self._pulse is not None
        if gone := self._pulse.silent():
            raise TrainingError(
                f"{', '.join(gone)} no longer answers, and this rank, {self.mesh.world.rank}, "
                f"cannot go on without ({error}). Nothing that was saved is lost: see what ended "
                "it (its own output, the kernel's log for memory), then run the same command again."
            ) from error

    def _check_memory(self) -> None:
        """ConfigError, with tables, if the run clearly needs more memory than the ranks have."""
        case = Case(
            architecture=self.architecture,
            config=self.config,
            recipe=self.recipe,
            world=self.mesh.world.size,
            vocab=self.tokenizer.vocab_size,
        )
        check_memory(case, available_memory(self.mesh))

    def _check_recipe(self) -> None:
        """ConfigError, on every rank, if another recipe's run is in the folder.

        CheckpointError if its newest checkpoint cannot be read.
        """
        begun = ""
        with self.mesh.world.together():
            if self.mesh.main:
                # Checkpoints know it also where an earlier version wrote the settings.
                begun = self._keeper.recipe or recipe_in(self.folder)
        begun = self.mesh.world.broadcast_object(begun)
        if begun not in ("", self.recipe):
            raise ConfigError(
                f"{self.folder} holds a run of the recipe {begun}, and this is {self.recipe}, "
                "which would mix its results with those. Choose another run.name."
            )

    def _check_settings(self, saved: dict[str, Any]) -> None:
        """CheckpointError if the run was started with settings that cannot change on the way."""
        changed = changed_settings(saved, dataclasses.asdict(self.config))
        if changed:
            raise CheckpointError(
                f"{self.folder} holds a run with other settings: {'; '.join(changed)}. Resume it "
                "with its own, or choose another run.name."
            )

    def _started_alike(self) -> bool:
        """True if the folder holds a start of this run that was interrupted before it saved."""
        alike = self.mesh.main and self.config.run.resume
        alike = alike and changed_since(self.folder, self.config, recipe=self.recipe) == []
        return self.mesh.world.broadcast_object(alike)

    def _load_weights(self, policy: Policy) -> None:
        if self.config.model.load:
            policy.load(Path(self.config.model.load), weights_only=True)

    def _open(self, policy: Policy, *, first: int, state: str) -> None:
        """Open the log at step `first` and say what starts."""
        mesh, config = self.mesh, self.config
        log = RunLog(self.folder, config, main=mesh.main, start_step=first)
        self.log = self._closing.enter_context(log)
        if mesh.main:
            (self.folder / "summary.json").unlink(missing_ok=True)
            write_settings(self.folder, config, self.recipe)
        log.say(
            f"{self.recipe} {config.run.name}: {policy.architecture.name}, {self.task.name} "
            f"({self.task.form}), {mesh.world.size} ranks = tensor {mesh.tensor.size} x pipeline "
            f"{mesh.pipeline.size} x data {mesh.data.size}, {mesh.device.type}, {state}"
        )
        log.say(f"precision: {precision_note(config.model, mesh.device)}")
        log.say(f"operators: {self._operators}")
        log.say(f"problems: {self.task.census()}")

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        self._stop = True


def _follow_link(config: Config) -> Config:
    """`config` with the checkpoint that `model.load` means now: `latest` and `best` move on."""
    load = Path(config.model.load)
    if not (config.model.load and load.is_symlink()):
        return config
    model = dataclasses.replace(config.model, load=str(load.parent / load.readlink()))
    return dataclasses.replace(config, model=model)
