"""What there is to do: each stage as done, to go on with, or to begin.

Owns the looking at the folders of a seed, and the refusal of what was made otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reft_megatron.commands.reproduce.identity import (
    Identity,
    Record,
    counted,
    counts,
    identity_of,
    read_record,
)
from reft_megatron.commands.reproduce.pipeline import Pipeline, Stage, flat, path_settings
from reft_megatron.config import load_config
from reft_megatron.config.settings_file import SETTINGS, recipe_in
from reft_megatron.errors import ConfigError, DataError

__all__ = ["Step", "check_inputs", "plan"]

State = Literal["done", "go on", "begin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One stage of one seed, and what there is to do for it."""

    stage: Stage
    """The stage."""
    seed: int
    """The seed."""
    folder: Path
    """Its folder."""
    state: State
    """What there is to do."""
    identity: Identity
    """What it is made of; of a stage that is done, as it was recorded."""
    seconds: float
    """Wall-clock time so far."""
    words: tuple[str, ...]
    """The command line that makes it."""


def plan(
    pipeline: Pipeline,
    seed: int,
    *,
    names: Collection[str] | None = None,
    removed: Collection[str] = (),
) -> list[Step]:
    """The stages of a seed in their order.

    names: only these, which must hold what they start from; None for all.
    removed: stages to plan as if their folders were gone. Raises ConfigError if stages were made
    with other settings, from other inputs, or by somebody else, naming all of them; DataError for a
    file that is missing.
    """
    steps: list[Step] = []
    digests: dict[str, str] = {}
    wrong: dict[str, str] = {}
    for stage in pipeline.stages.values():
        if names is not None and stage.name not in names:
            continue
        folder = pipeline.folder_of(stage.name, seed)
        identity = identity_of(pipeline, stage, seed, digests=digests)
        record = None if stage.name in removed else read_record(folder)
        found = stage.name not in removed and folder.is_dir() and any(folder.iterdir())
        if found and record is None:
            record = _adopted(pipeline, stage, seed, identity=identity)
        if record is not None and (changes := record.identity.changes(identity)):
            wrong[stage.name] = f"{folder} was made otherwise: {'; '.join(changes)}"
        elif found and record is None:
            wrong[stage.name] = f"{folder} was made by something else"
        done = found and (folder / "summary.json").is_file()
        steps.append(
            Step(
                stage=stage,
                seed=seed,
                folder=folder,
                state="done" if done else "go on" if record else "begin",
                identity=record.identity if record else identity,
                seconds=record.seconds if record else 0.0,
                words=tuple(pipeline.words(stage, seed)),
            )
        )
        # What follows a stage that has to be made again is told of that one alone.
        digests[stage.name] = steps[-1].identity.digest
    if wrong:
        redo = " ".join(f"--redo {name}" for name in wrong)
        raise ConfigError(
            f"{'. '.join(wrong.values())}. Take back what changed, choose another --folder, or "
            f"remove these stages and what starts from them, to make them again: {redo}"
        )
    return steps


def check_inputs(pipeline: Pipeline, step: Step) -> None:
    """Raises DataError unless what a stage starts from is finished and there."""
    for source in step.stage.inputs.values():
        folder = pipeline.folder_of(source.stage, step.seed)
        if not (folder / "summary.json").is_file():
            raise DataError(
                f"stage {step.stage.name} starts from {source}, and {source.stage} is not "
                f"finished: run it first (--stage {source.stage}), or the whole pipeline."
            )
        path = pipeline.path_of(source, step.seed)
        if not path.exists():
            raise DataError(
                f"stage {step.stage.name} starts from {source}, and {source.stage} has finished "
                f"without it: there is no {path}. (`best` wants evaluations on dev problems.)"
            )


def _adopted(pipeline: Pipeline, stage: Stage, seed: int, *, identity: Identity) -> Record | None:
    """The record of a run that was started by hand with the command that a dry run shows.

    None unless its folder says that it is this run: of this recipe, from the very inputs and files,
    begun when the inputs were finished. (Its settings are compared as any record's.)
    """
    folder = pipeline.folder_of(stage.name, seed)
    config = folder / SETTINGS
    if not stage.recipe or recipe_in(folder) != stage.recipe:
        return None
    try:
        values = flat(load_config(config))
    except ConfigError:
        return None  # of another version
    for source in stage.inputs.values():
        made = pipeline.folder_of(source.stage, seed) / "summary.json"
        if not made.is_file() or made.stat().st_mtime > config.stat().st_mtime:
            return None
    own = flat(pipeline.config(stage, seed))
    paths = [key for key in path_settings() if counts(key, stage.recipe)]
    if not all(_same(values[key], own[key]) for key in paths):
        return None
    begun = Identity(
        made_by=stage.recipe,
        settings=counted(values, stage.recipe),
        inputs=identity.inputs,
        files=identity.files,
    )
    return Record(identity=begun, seconds=0.0)


def _same(first: str, second: str) -> bool:
    """Whether two settings name the same file or folder, or none."""
    return bool(first) == bool(second) and os.path.realpath(first) == os.path.realpath(second)
