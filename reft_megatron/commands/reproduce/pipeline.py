"""A pipeline: stages that start from one another, and the table they lead to.

Owns the nouns, where everything lies, and the settings and the command line of a stage. Reading the
file and its errors: `pipeline_file`.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reft_megatron.commands.reproduce.results import Role
from reft_megatron.config import Config, load_config

__all__ = ["Input", "Pipeline", "Row", "Stage", "flat", "path_settings"]

_ARTEFACTS = {"latest": "checkpoints/latest", "best": "checkpoints/best", "ledger": "ledger"}
_NAMES = ("run.name", "run.dir", "model.preset", "log.wandb_project", "task.prompt")
"""Settings that are texts and name no file."""
_ENVIRONMENT = ("OMP_NUM_THREADS=1", "PYTHONWARNINGS=ignore")


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Something that another stage left."""

    stage: str
    """Name of that stage."""
    what: str
    """`latest` or `best` checkpoint or `ledger` of a recipe; of a command, a file's name."""

    def __str__(self) -> str:
        return f"{self.stage}:{self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One run of a recipe, or one command."""

    name: str
    """Its name, and its folder's."""
    recipe: str
    """The recipe; empty for a command."""
    command: str
    """The command with its placeholders; empty for a recipe."""
    settings: Mapping[str, Any]
    """Dotted key -> value, those of all stages included."""
    inputs: Mapping[str, Input]
    """Dotted key of a setting (of a command: a placeholder) -> what it is set to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method of the table."""

    name: str
    """As the table calls it."""
    stage: str
    """The evaluation with its figures."""
    role: Role
    """What it is in the comparison."""
    meaning: str
    """One sentence for a newcomer; may be empty."""
    paper: str
    """Key of the paper's figures (`paper.PAPER`); empty without any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A whole pipeline file, checked."""

    name: str
    """Its name."""
    title: str
    """Heading of table and page."""
    folder: Path
    """Where its results lie; a stage has the folder `seed-N/STAGE` in it."""
    seeds: tuple[int, ...]
    """One round of all stages for each."""
    launch: str
    """What starts the ranks of a recipe, as `torchrun --nproc-per-node {processes}`: it takes what
    Python takes."""
    processes: int
    """Ranks of a recipe, for the placeholder in `launch`."""
    cpu: bool
    """Hide the GPUs of the machine."""
    stages: Mapping[str, Stage]
    """By name, every one after those that it starts from."""
    rows: tuple[Row, ...]
    """The table."""
    overrides: tuple[str, ...]
    """`section.key=value` for all recipes, stronger than the file."""
    results: Path
    """Where results.json lies: in `folder`, or in a seed's folder if it is about that one alone."""

    def folder_of(self, stage: str, seed: int) -> Path:
        """The folder of a stage."""
        return self.folder / f"seed-{seed}" / stage

    def path_of(self, source: Input, seed: int) -> Path:
        """Where something that a stage leaves will be."""
        inner = source.what
        if self.stages[source.stage].recipe:
            inner = _ARTEFACTS[source.what]
        return self.folder_of(source.stage, seed) / inner

    def config(self, stage: Stage, seed: int) -> Config:
        """All settings of a recipe's run; raises ConfigError."""
        paths = {key: str(self.path_of(source, seed)) for key, source in stage.inputs.items()}
        own = {"run.dir": str(self.folder / f"seed-{seed}"), "run.name": stage.name}
        seeds = {"run.seed": seed, "task.data_seed": seed}
        given = {**stage.settings, **paths, **own, **seeds}
        return load_config(None, [*_overrides(given), *self.overrides])

    def words(self, stage: Stage, seed: int) -> list[str]:
        """The command line that runs a stage, as typed in the current folder."""
        environment = ["CUDA_VISIBLE_DEVICES="] if self.cpu else []
        environment += _ENVIRONMENT
        if stage.recipe:
            words = shlex.split(self.launch.replace("{processes}", str(self.processes)))
            words += ["-m", "reft_megatron", stage.recipe]
            changed = _changed(self.config(stage, seed))
            return ["env", *environment, _beside_python(words[0]), *words[1:], *changed]
        places = {"folder": str(self.folder_of(stage.name, seed)), "seed": str(seed)}
        places |= {key: str(self.path_of(source, seed)) for key, source in stage.inputs.items()}
        words = [_filled(word, places) for word in shlex.split(stage.command)]
        return ["env", *environment, _beside_python(words[0]), *words[1:]]

    def sources(self, name: str) -> list[str]:
        """The stages that a stage starts from, and those that they start from, and itself."""
        found = {name}
        for stage in reversed([*self.stages.values()]):
            if stage.name in found:
                found |= {source.stage for source in stage.inputs.values()}
        return [stage for stage in self.stages if stage in found]

    def followers(self, names: Sequence[str]) -> list[str]:
        """The stages of these names and all that start from them, in order."""
        found = set(names)
        for stage in self.stages.values():
            if found & {source.stage for source in stage.inputs.values()}:
                found.add(stage.name)
        return [name for name in self.stages if name in found]


def flat(config: Config) -> dict[str, Any]:
    """Dotted key -> value of every setting."""
    tree = dataclasses.asdict(config)
    return {f"{part}.{key}": value for part, block in tree.items() for key, value in block.items()}


def path_settings() -> Iterator[str]:
    """Dotted keys of the settings that name a file or a folder."""
    for part in dataclasses.fields(Config):
        for key, field in type(getattr(Config(), part.name)).__pydantic_fields__.items():
            if field.annotation is str and f"{part.name}.{key}" not in _NAMES:
                yield f"{part.name}.{key}"


def _overrides(settings: Mapping[str, Any]) -> list[str]:
    """As `load_config` takes them; JSON is YAML."""
    return [
        f"{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in settings.items()
    ]


def _changed(config: Config) -> list[str]:
    """Overrides that make `config` of the defaults."""
    default = flat(Config())
    return _overrides({k: value for k, value in flat(config).items() if value != default[k]})


def _filled(word: str, places: Mapping[str, str]) -> str:
    for name, text in places.items():
        word = word.replace(f"{{{name}}}", text)
    return word


def _beside_python(program: str) -> str:
    """A program of the environment that this Python is of, wherever PATH leads."""
    beside = Path(sys.executable).parent / program
    return str(beside) if "/" not in program and beside.is_file() else program
