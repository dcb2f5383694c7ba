"""What makes a stage the stage it is, and the record of it in the stage's folder.

A finished stage is believed if it was made with the present settings from the same inputs: the
settings of its recipe, what its inputs were made with, and so on down, and the content of the files
it names. Where things lie and how a run is laid out over a machine do not count. Owns `stage.json`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reft_megatron import __version__
from reft_megatron.commands.reproduce.pipeline import Pipeline, Stage, flat, path_settings
from reft_megatron.config import Config
from reft_megatron.config.manner import MANNER
from reft_megatron.config.recipes import RECIPES
from reft_megatron.errors import DataError
from reft_megatron.files import checksum, write_whole

__all__ = ["Identity", "Record", "counted", "counts", "identity_of", "read_record", "write_record"]

_SHARED = "ppo.truncated_reward"
"""What judges completions reads it, whatever the recipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a stage is made of."""

    made_by: str
    """The recipe's name, or the command as the pipeline has it."""
    settings: Mapping[str, Any]
    """Dotted key -> value of every setting that counts and names no file."""
    inputs: Mapping[str, tuple[str, str]]
    """Key -> (`STAGE:WHAT`, digest of that stage)."""
    files: Mapping[str, str]
    """Key -> checksum of the file or folder that it names."""

    @property
    def digest(self) -> str:
        """Of all of it, 16 hexadecimal digits."""
        text = json.dumps(_tree(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def changes(self, present: Identity) -> list[str]:
        """What differs at `present`, each as `key: then -> now`.

        A setting that one of them does not know, being of another version of this package, differs
        only if it is not at its default.
        """
        if self.made_by != present.made_by:
            return [f"{self.made_by} -> {present.made_by}"]
        default = counted(flat(Config()), self.made_by)
        told = []
        for key in sorted({*self.settings, *present.settings} & {*default, "seed"}):
            then = self.settings.get(key, default.get(key))
            now = present.settings.get(key, default.get(key))
            if then != now:
                told.append(f"{key}: {then!r} -> {now!r}")
        for key in sorted({*self.inputs, *present.inputs}):
            (before, made), (after, makes) = (
                side.inputs.get(key, ("nothing", "")) for side in (self, present)
            )
            if before != after:
                told.append(f"{key}: {before} -> {after}")
            elif made != makes:
                told.append(f"{key}: {before} has changed")
        for key in sorted({*self.files, *present.files}):
            if self.files.get(key) != present.files.get(key):
                told.append(f"{key}: the content of what it names has changed")
        return told


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a pipeline knows of a stage that it started."""

    identity: Identity
    """What it was started with."""
    seconds: float
    """Wall-clock time so far, over all starts."""


def identity_of(
    pipeline: Pipeline, stage: Stage, seed: int, *, digests: Mapping[str, str]
) -> Identity:
    """The identity of a stage as the pipeline has it now.

    digests: of the stages it starts from. Raises DataError if a file that it names is not there.
    """
    inputs = {
        key: (str(source), digests[source.stage]) for key, source in sorted(stage.inputs.items())
    }
    if not stage.recipe:
        files = {
            word: _content(Path(word))
            for word in shlex.split(stage.command)
            if not word.endswith(".py") and "/" in word and Path(word).is_file()
        }
        settings = {"seed": seed} if "{seed}" in stage.command else {}
        return Identity(made_by=stage.command, settings=settings, inputs=inputs, files=files)
    values = flat(pipeline.config(stage, seed))
    files = {}
    for key in path_settings():
        if values[key] and key not in inputs and counts(key, stage.recipe):
            if not Path(values[key]).exists():
                raise DataError(
                    f"stage {stage.name}: {key} names {values[key]}, which is not there."
                )
            files[key] = _content(Path(values[key]))
    settings = counted(values, stage.recipe)
    return Identity(made_by=stage.recipe, settings=settings, inputs=inputs, files=files)


def counted(values: Mapping[str, Any], recipe: str) -> dict[str, Any]:
    """Of flat settings those that count for a recipe and name no file."""
    paths = set(path_settings())
    return {k: v for k, v in values.items() if k not in paths and counts(k, recipe)}


def counts(key: str, recipe: str) -> bool:
    """Whether what a recipe makes depends on a setting."""
    section = key.partition(".")[0]
    of_another = section in RECIPES and section != recipe and key != _SHARED
    return not of_another and not key.startswith(MANNER)


def read_record(folder: Path) -> Record | None:
    """What the pipeline wrote of a stage; None if it never started it here."""
    path = folder / "stage.json"
    try:
        tree = json.loads(path.read_text())
        kept = tree["identity"]
        identity = Identity(
            made_by=kept["made_by"],
            settings=kept["settings"],
            inputs={key: (source, digest) for key, (source, digest) in kept["inputs"].items()},
            files=kept["files"],
        )
        return Record(identity=identity, seconds=float(tree["seconds"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is no record of a stage ({error!r}). Remove the folder to make it again."
        ) from None


def write_record(folder: Path, record: Record) -> None:
    """Write it, durably."""
    tree = {
        "digest": record.identity.digest,
        "identity": _tree(record.identity),
        "seconds": round(record.seconds, 1),
        "version": __version__,
    }
    write_whole(folder / "stage.json", json.dumps(tree, indent=1) + "\n")


def _tree(identity: Identity) -> dict[str, Any]:
    return {
        "made_by": identity.made_by,
        "settings": dict(identity.settings),
        "inputs": {key: list(pair) for key, pair in identity.inputs.items()},
        "files": dict(identity.files),
    }


@functools.cache
def _content(path: Path) -> str:
    """Checksum of a file, or of a folder's files with their names.

    A checkpoint has its own checksums in its manifest, which stands for all of it.
    """
    if path.is_file():
        return checksum(path)
    manifest = path / "manifest.json"
    files = [manifest] if manifest.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    told = "".join(f"{checksum(file)} {file.relative_to(path)}\n" for file in files)
    return hashlib.sha256(told.encode()).hexdigest()[:32]
