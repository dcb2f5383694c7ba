"""Reading a pipeline: one YAML file, checked whole before anything runs.

Owns the notation and what is said of it. Settings are those of `config/`, so their errors are too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from reft_megatron.commands.reproduce.paper import PAPER
from reft_megatron.commands.reproduce.pipeline import Input, Pipeline, Row, Stage, path_settings
from reft_megatron.commands.reproduce.results import Role
from reft_megatron.config.recipes import RECIPES
from reft_megatron.errors import ConfigError

__all__ = ["LEAVES", "read_pipeline"]

LEAVES = {
    "pretrain": ("latest",),
    "sft": ("latest", "best"),
    "ppo": ("latest", "best", "ledger"),
    "sample": ("ledger",),
    "offline_sl": ("latest", "best"),
    "online_sl": ("latest", "best", "ledger"),
    "rerank": ("latest", "best"),
    "evaluate": ("ledger",),
}
"""What recipes leave for others. (Evaluations leave a ledger if they draw samples themselves.)"""
_OWN = ("run.dir", "run.name", "run.seed", "task.data_seed", "run.resume", "rollouts.record")
"""Settings that a pipeline makes itself."""
_STRICT = ConfigDict(extra="forbid")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
"""A stage's. In the keys of `summary.json` its `-` is `_`, so that it has none of its own."""
_Text = Annotated[str, Field(min_length=1)]
_Blocks = dict[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class _StageFile:
    recipe: str = ""
    command: str = ""
    like: str = ""
    settings: _Blocks = dataclasses.field(default_factory=dict)
    inputs: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class _RowFile:
    stage: _Text
    role: Role
    meaning: str = ""
    paper: str = ""


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class _PipelineFile:
    name: _Text
    folder: _Text
    title: str = ""
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    launch: _Text = "torchrun --standalone --nproc-per-node {processes}"
    processes: Annotated[int, Field(ge=1)] = 1
    cpu: bool = False
    settings: _Blocks = dataclasses.field(default_factory=dict)
    inputs: dict[str, str] = dataclasses.field(default_factory=dict)
    stages: Annotated[dict[str, _StageFile], Field(min_length=1)]
    table: dict[str, _RowFile] = dataclasses.field(default_factory=dict)


def read_pipeline(path: Path, *, overrides: Sequence[str] = (), **replaced: Any) -> Pipeline:
    """Read and check a pipeline file.

    overrides: `section.key=value` for every recipe.
    replaced: `folder`, `seeds`, `launch` or `processes` in the place of the file's; None keeps it.
    Raises ConfigError for a missing file, bad YAML, an unknown key, recipe, stage or setting (with
    the nearest known one), a value out of range, a circle, or a layout that `processes` cannot be.
    """
    file = _parsed(path)
    all_seeds = file.seeds
    given = {key: value for key, value in replaced.items() if value is not None}
    with _naming("bad command line"):
        file = dataclasses.replace(file, **given)
    names = list(file.stages)
    for name in names:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{path}: a stage's name has letters, digits, `-` and `.`: {name!r}")
    whole = {name: _alike(file, name, ()) for name in names}
    stages = {name: _stage(file, name, whole) for name in names}
    pipeline = Pipeline(
        name=file.name,
        title=file.title or file.name,
        folder=Path(file.folder),
        seeds=tuple(dict.fromkeys(file.seeds)),
        launch=file.launch,
        processes=file.processes,
        cpu=file.cpu,
        stages=_in_order(stages),
        rows=tuple(_row(name, row, stages) for name, row in file.table.items()),
        overrides=tuple(overrides),
        results=_results(file, all_seeds),
    )
    _check(pipeline)
    return pipeline


def _results(file: _PipelineFile, all_seeds: Sequence[int]) -> Path:
    """Where results go: those of one seed that is not all of the file's into its own folder."""
    alone = len(file.seeds) == 1 and file.seeds != all_seeds
    return Path(file.folder) / (f"seed-{file.seeds[0]}" if alone else "")


def _parsed(path: Path) -> _PipelineFile:
    try:
        tree = yaml.load(path.read_text("utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(f"cannot read the pipeline {path}: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"the pipeline {path} is not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"the pipeline {path} must hold `key:` blocks, saw {tree!r:.60}.")
    _check_keys(tree, _PipelineFile, "")
    for part, kind in (("stages", _StageFile), ("table", _RowFile)):
        blocks = tree.get(part)
        for name, block in blocks.items() if isinstance(blocks, dict) else ():
            _check_keys(block, kind, f"{part}.{name}.")
    with _naming(f"bad pipeline {path}"):
        return TypeAdapter(_PipelineFile).validate_python(tree)


@contextlib.contextmanager
def _naming(what: str) -> Iterator[None]:
    """ConfigError, that begins with `what`, for values that cannot be used."""
    try:
        yield
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']} (seen: {e['input']!r:.60})"
            for e in error.errors()
        )
        raise ConfigError(f"{what}: {told}") from None


class _Loader(yaml.SafeLoader):
    """YAML where a key that stands twice is an error: the second would drop the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"`{key}` stands twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def _check_keys(block: Any, kind: type, prefix: str) -> None:
    known = [field.name for field in dataclasses.fields(kind)]
    for key in block if isinstance(block, dict) else ():
        if key not in known:
            raise ConfigError(
                f"unknown key {prefix}{key}; {_nearest(str(key), known, prefix)}. A pipeline's "
                "keys are in `reft-megatron reproduce --help`."
            )


def _nearest(seen: str, known: Iterable[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(seen, list(known), n=1, cutoff=0.0)
    return f"the nearest known one is {prefix}{near[0]}" if near else "there is none"


def _alike(file: _PipelineFile, name: str, seen: tuple[str, ...]) -> _StageFile:
    """The stage with what it takes from the one that it is like."""
    if name in seen:
        raise ConfigError(f"stages are like one another in a circle: {' -> '.join((*seen, name))}.")
    stage = file.stages[name]
    if not stage.like:
        return stage
    if stage.like not in file.stages:
        raise ConfigError(
            f"stage {name} is like {stage.like}, which is no stage; "
            f"{_nearest(stage.like, file.stages)}."
        )
    model = _alike(file, stage.like, (*seen, name))
    return _StageFile(
        recipe=stage.recipe or model.recipe,
        command=stage.command or model.command,
        settings=_merged(model.settings, stage.settings),
        inputs=model.inputs | stage.inputs,
    )


def _merged(first: _Blocks, second: _Blocks) -> _Blocks:
    """Blocks of both; where both have a setting, the second's."""
    return {part: first.get(part, {}) | second.get(part, {}) for part in {**first, **second}}


def _stage(file: _PipelineFile, name: str, whole: Mapping[str, _StageFile]) -> Stage:
    stage = whole[name]
    if bool(stage.recipe) == bool(stage.command):
        raise ConfigError(f"stage {name} wants a `recipe` or a `command`, one of them.")
    if stage.recipe and stage.recipe not in RECIPES:
        raise ConfigError(
            f"stage {name}: unknown recipe {stage.recipe}; {_nearest(stage.recipe, RECIPES)}."
        )
    if stage.command and stage.settings:
        raise ConfigError(f"stage {name} is a command, which has no `settings`.")
    if stage.command:
        _check_words(stage.command, f"the command of stage {name}")
    blocks = _merged(file.settings, stage.settings) if stage.recipe else {}
    given = (file.inputs if stage.recipe else {}) | stage.inputs
    settings = {f"{part}.{key}": v for part, block in blocks.items() for key, v in block.items()}
    inputs = {key: _input(name, text, whole) for key, text in given.items()}
    for key in inputs if stage.recipe else ():
        if key not in path_settings():
            raise ConfigError(
                f"stage {name}: the input {key} is no setting that names a file; "
                f"{_nearest(key, path_settings())}."
            )
    for key in {**settings, **inputs}:
        if key in _OWN:
            raise ConfigError(f"stage {name}: {key} is the pipeline's own to set; leave it out.")
    return Stage(
        name=name, recipe=stage.recipe, command=stage.command, settings=settings, inputs=inputs
    )


def _input(name: str, text: str, whole: Mapping[str, _StageFile]) -> Input:
    """What `STAGE:WHAT` means."""
    source, colon, what = text.partition(":")
    if not (source and colon and what):
        raise ConfigError(
            f"stage {name}: an input reads STAGE:latest, STAGE:best, STAGE:ledger or, of a "
            f"command, STAGE:FILE; saw {text!r}."
        )
    if source not in whole:
        raise ConfigError(
            f"stage {name} starts from {text}, and there is no stage {source}; "
            f"{_nearest(source, whole)}."
        )
    made = whole[source]
    if made.recipe:
        leaves = LEAVES[made.recipe]
        if what not in leaves:
            raise ConfigError(
                f"stage {name} starts from {text}, and {made.recipe} leaves {' and '.join(leaves)}."
            )
    elif PurePosixPath(what).is_absolute() or ".." in PurePosixPath(what).parts:
        raise ConfigError(f"stage {name}: {text} is no file in the folder of {source}.")
    return Input(stage=source, what=what)


def _in_order(stages: Mapping[str, Stage]) -> dict[str, Stage]:
    """Every stage after those it starts from, otherwise as the file has them."""
    ordered: dict[str, Stage] = {}

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            circle = (*above[above.index(name) :], name)
            raise ConfigError(f"stages start from one another in a circle: {' -> '.join(circle)}.")
        for source in stages[name].inputs.values():
            visit(source.stage, (*above, name))
        ordered.setdefault(name, stages[name])

    for name in stages:
        visit(name, ())
    return ordered


def _row(name: str, row: _RowFile, stages: Mapping[str, Stage]) -> Row:
    if row.stage not in stages or stages[row.stage].recipe != "evaluate":
        evaluations = [stage.name for stage in stages.values() if stage.recipe == "evaluate"]
        raise ConfigError(
            f"table.{name}: {row.stage} is no stage that evaluates; "
            f"{_nearest(row.stage, evaluations)}."
        )
    if row.paper and row.paper not in PAPER:
        raise ConfigError(
            f"table.{name}: the paper has no figures {row.paper}; {_nearest(row.paper, PAPER)}."
        )
    return Row(name=name, stage=row.stage, role=row.role, meaning=row.meaning, paper=row.paper)


def _check(pipeline: Pipeline) -> None:
    """Of all that only shows in the whole."""
    for role in ("baseline", "ours"):
        names = [row.name for row in pipeline.rows if row.role == role]
        if len(names) > 1:
            raise ConfigError(f"table: one row at most has the role {role}, saw {names}.")
    _check_words(pipeline.launch, "`launch`")
    recipes = [stage for stage in pipeline.stages.values() if stage.recipe]
    for override in pipeline.overrides:
        key = override.partition("=")[0]
        if key in _OWN:
            raise ConfigError(f"{key} is the pipeline's own to set: `--folder`, `--seed`.")
        if stage := next((stage for stage in recipes if key in stage.inputs), None):
            raise ConfigError(
                f"{key} is what stage {stage.name} starts from, {stage.inputs[key]}: name "
                "another in the file's `inputs`."
            )
    for stage in recipes:
        _check_recipe(pipeline, stage)


def _check_recipe(pipeline: Pipeline, stage: Stage) -> None:
    try:
        config = pipeline.config(stage, pipeline.seeds[0])
    except ConfigError as error:
        raise ConfigError(f"stage {stage.name}: {error}") from None
    parallel = config.parallel
    if "{processes}" in pipeline.launch and pipeline.processes % (
        parallel.tensor * parallel.pipeline
    ):
        raise ConfigError(
            f"stage {stage.name} is laid out over tensor {parallel.tensor} x pipeline "
            f"{parallel.pipeline}, and {pipeline.processes} processes are no multiple of it."
        )
    draws = bool(config.evaluate.samples and not config.evaluate.ledger)
    if stage.recipe == "evaluate" and not draws:
        for other in pipeline.stages.values():
            if Input(stage=stage.name, what="ledger") in other.inputs.values():
                raise ConfigError(
                    f"stage {other.name} starts from {stage.name}:ledger, and that evaluation "
                    "draws no samples of its own: set its evaluate.samples, without a ledger."
                )


def _check_words(text: str, what: str) -> None:
    """ConfigError unless a shell would find words in it."""
    try:
        found = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"{what} cannot be taken apart ({error}): {text!r:.200}") from None
    if not found:
        raise ConfigError(f"{what} is empty.")
