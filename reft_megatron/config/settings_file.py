"""Settings as text: YAML files with dotted overrides, and what `--help` prints.

A run is one YAML file; `section.key=value` on the command line overrides. Owns what is read, in
which order, and what is said of a key or a value that cannot be used, and the file of settings in a
run's folder; no setting is named here.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import TypeAdapter, ValidationError

from reft_megatron.config.sections import Config
from reft_megatron.errors import ConfigError
from reft_megatron.files import write_whole

__all__ = ["SETTINGS", "describe", "load_config", "recipe_in", "to_yaml", "write_settings"]

SETTINGS = "config.yaml"
"""The settings of a run, in its folder."""
_FIRST_LINE = "# reft-megatron {recipe} --config {file}\n"

_ADAPTER = TypeAdapter(Config)


def load_config(path: str | Path | None, overrides: list[str] | tuple[str, ...] = ()) -> Config:
    """Read a YAML file, apply `key.sub=value` overrides, check everything.

    `path` None starts from the defaults. Raises ConfigError for a missing file, bad YAML, an
    unknown key (with the nearest known one), or a value out of range.
    """
    tree = _read_yaml(Path(path)) if path is not None else {}
    _check_keys(tree, Config, "")
    for override in overrides:
        _apply_override(tree, override)
    _check_keys(tree, Config, "")
    try:
        config = _ADAPTER.validate_python(tree)
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']} (seen: {e['input']!r})"
            for e in error.errors()
        )
        raise ConfigError(f"bad setting: {told}") from None
    _check_numbers(tree, config)
    return config


def to_yaml(config: Config) -> str:
    """The resolved config as YAML that `load_config` reads back to an equal value."""
    return yaml.safe_dump(_ADAPTER.dump_python(config, mode="json"), sort_keys=False)


def write_settings(folder: Path, config: Config, recipe: str) -> None:
    """Write the run's settings to its folder; the first line is the command that has them."""
    first = _FIRST_LINE.format(recipe=recipe, file=folder / SETTINGS)
    write_whole(folder / SETTINGS, first + to_yaml(config))


def recipe_in(folder: Path) -> str:
    """The recipe that was last started in `folder`; empty if none was, or nobody wrote it down."""
    path = folder / SETTINGS
    pattern = _FIRST_LINE.split(" --", maxsplit=1)[0].format(recipe=r"(\w+) ")
    found = re.match(pattern, path.read_text()) if path.exists() else None
    return found[1] if found else ""


def describe() -> list[tuple[str, str, str]]:
    """(dotted key, default, meaning) of every setting, in order; `--help` prints it."""
    rows = []
    for section in dataclasses.fields(Config):
        kind = type(getattr(Config(), section.name))
        for name, field in kind.__pydantic_fields__.items():
            meaning = " ".join((field.description or "").split())
            if get_origin(field.annotation) is Literal:
                meaning += f" One of {', '.join(get_args(field.annotation))}."
            rows.append((f"{section.name}.{name}", repr(field.default), meaning))
    return rows


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text("utf-8")) or {}
    except UnicodeDecodeError as error:
        raise ConfigError(f"the config file {path} is not UTF-8 text: {error}.") from None
    except OSError as error:
        raise ConfigError(f"cannot read the config file {path}: {error.strerror}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"the config file {path} is not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"the config file {path} must hold `section:` blocks, saw {tree!r:.60}.")
    return tree


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    section, dot, name = key.partition(".")
    if not (sign and dot and section and name):
        raise ConfigError(f"an override reads section.key=value, saw {override!r}.")
    block = tree.setdefault(section, {})
    if not isinstance(block, dict):
        raise ConfigError(f"`{section}` must be a block of settings, saw {block!r:.60}.")
    block[name] = _value(section, name, text)


def _value(section: str, name: str, text: str) -> Any:
    """`text` as YAML, but as it stands where the setting is a text: `run.name=2024` is a name."""
    kind = getattr(type(getattr(Config(), section, None)), "__pydantic_fields__", {}).get(name)
    if kind and (kind.annotation is str or get_origin(kind.annotation) is Literal):
        return text
    try:
        return yaml.safe_load(text) if text else ""
    except yaml.YAMLError:
        return text


def _check_keys(tree: dict[str, Any], kind: type, prefix: str) -> None:
    known = {field.name: field for field in dataclasses.fields(kind)}
    for key, value in tree.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)
            raise ConfigError(
                f"unknown setting {prefix}{key}; the nearest known one is {prefix}{near[0]}. "
                "`--help` lists them all."
            )
        if prefix == "" and isinstance(value, dict):
            _check_keys(value, type(getattr(Config(), key)), f"{key}.")


def _check_numbers(tree: dict[str, Any], config: Config) -> None:
    """ConfigError for what pydantic takes for a number and nobody means: true, inf, nan."""
    for section, block in tree.items():
        for name, value in (block or {}).items():
            found = getattr(getattr(config, section), name)
            number = isinstance(found, int | float) and not isinstance(found, bool)
            if number and (isinstance(value, bool) or not math.isfinite(found)):
                raise ConfigError(
                    f"bad setting: {section}.{name}: wanted a finite number (seen: {value!r})"
                )
