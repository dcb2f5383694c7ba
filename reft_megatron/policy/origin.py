"""What a policy is made from: a preset, a Hugging Face folder, or a checkpoint.

Owns the choice among them, and the files of a Hugging Face folder that travel with a model
untouched (config.json, generation settings, tokenizer), from one checkpoint to the next and out
again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import xxhash

from reft_megatron.config import DEFAULT_PRESET, Config, ModelConfig
from reft_megatron.errors import CheckpointError, ConfigError
from reft_megatron.policy.draft import MANIFEST
from reft_megatron.policy.families import (
    Architecture,
    find_architecture,
    read_architecture,
)
from reft_megatron.policy.meta import architecture_in, differing, identity, read_meta, token_ids
from reft_megatron.tokenizer import Tokenizer, tokenizer_files

__all__ = [
    "FOLDER",
    "architecture_of",
    "folder_files",
    "tokenizer_path",
    "travelling_files",
    "weights_fingerprint",
]

FOLDER = "huggingface"
"""Folder of a checkpoint that holds the files that travel."""

_ENDS = 1 << 16
"""Bytes at both ends of a file of weights that are looked at; all of them may take minutes."""
_SETTINGS = ("config.json", "generation_config.json")


def architecture_of(model: ModelConfig) -> Architecture:
    """The architecture that the settings ask for.

    Raises ConfigError for an unknown preset or settings that contradict, CheckpointError for a
    folder without a readable description.
    """
    if model.hf and model.load:
        raise ConfigError(
            f"model.hf={model.hf} and model.load={model.load} are both set, and each brings "
            "weights. Set one of them."
        )
    if not (model.hf or model.load):
        return find_architecture(model.preset or DEFAULT_PRESET)
    if model.hf:
        found = read_architecture(Path(model.hf))
        return _agreed(model.preset, found, model.hf) if model.preset else found
    return find_architecture(model.preset) if model.preset else _stored(Path(model.load))


def tokenizer_path(config: Config) -> str:
    """`tokenizer.path`, or where the model comes from; empty if nothing says.

    Raises CheckpointError if it should come with a checkpoint that is not there.
    """
    if config.tokenizer.path or config.model.hf or not config.model.load:
        return config.tokenizer.path or config.model.hf
    load = Path(config.model.load)
    if not load.is_dir():
        raise CheckpointError(
            f"there is no checkpoint {load}, which would bring weights and tokenizer. Run what "
            "writes it first, or set model.load to another (or tokenizer.path besides)."
        )
    return str(load / FOLDER) if (load / FOLDER).is_dir() else ""


def travelling_files(config: Config, tokenizer: Tokenizer) -> dict[str, bytes]:
    """Content of each file that travels, by name: settings of the origin, and the tokenizer's.

    Where the origin does not hold that `tokenizer`, its settings get the ids of this one. Raises
    CheckpointError for a file that cannot be read.
    """
    model = config.model
    origin = Path(model.hf) if model.hf else Path(model.load) / FOLDER if model.load else None
    if origin is not None and not origin.is_dir():
        origin = None
    path = config.tokenizer.path
    if origin is not None and (not path or _holds(origin, path)):
        return folder_files(origin)
    settings = _read(_settings(origin)) if origin is not None else {}
    settings = {name: _renumbered(name, old, tokenizer) for name, old in settings.items()}
    return {**settings, **_read(tokenizer_files(path) if path else {})}


def weights_fingerprint(config: Config) -> str:
    """What tells the initial weights of a run from others, in hexadecimal.

    Of a checkpoint that is the digest of its manifest, which has the checksum of every file; of
    another folder that of the files' names, sizes and ends; of random weights that of architecture
    and seed. Raises CheckpointError for a folder that is not there, is empty or cannot be read.
    """
    model, digest = config.model, xxhash.xxh3_128()
    folder = Path(model.load or model.hf)
    if not (model.load or model.hf):
        digest.update(f"random {model.preset or DEFAULT_PRESET} {config.run.seed}".encode())
    else:
        for path in _weight_files(folder):
            content = _content(path)
            digest.update(f"{path.relative_to(folder)} {path.stat().st_size} ".encode())
            digest.update(content)
    return digest.hexdigest()


def folder_files(folder: Path) -> dict[str, bytes]:
    """Content of each file of a Hugging Face folder that travels, by name."""
    return _read({**_settings(folder), **tokenizer_files(folder)})


def _weight_files(folder: Path) -> list[Path]:
    """The manifest that stands for all files, or these, where there is none."""
    if (folder / MANIFEST).is_file():
        return [folder / MANIFEST]
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if not paths:
        raise CheckpointError(
            f"there are no weights in {folder}, which the run starts from. Set model.load or "
            "model.hf to a folder that has some."
        )
    return paths


def _content(path: Path) -> bytes:
    """The whole of a manifest or of a small file, both ends of a large one."""
    try:
        with path.open("rb") as file:
            if path.name == MANIFEST:
                return file.read()
            start = file.read(_ENDS)
            file.seek(max(file.tell(), path.stat().st_size - _ENDS))
            return start + file.read()
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path}, of the weights that the run starts from: {error.strerror}. "
            "Mend it, or start from another folder."
        ) from None


def _settings(folder: Path) -> dict[str, Path]:
    return {name: folder / name for name in _SETTINGS if (folder / name).is_file()}


def _renumbered(name: str, content: bytes, tokenizer: Tokenizer) -> bytes:
    """A file of settings with the ids of another tokenizer than that it was written for."""
    try:
        tree = dict(json.loads(content))
    except (ValueError, TypeError):
        raise CheckpointError(f"the {name} that comes with the model is not valid JSON.") from None
    gone = {key: None for key in (*tree, "bos_token_id") if key.endswith("_token_id")}
    return (json.dumps({**tree, **gone, **token_ids(tokenizer)}, indent=2) + "\n").encode()


def _holds(folder: Path, tokenizer: str) -> bool:
    """True if `folder` has that same tokenizer: what stands beside it there still holds."""
    for name, path in tokenizer_files(tokenizer).items():
        other = folder / name
        if not other.is_file() or other.read_bytes() != path.read_bytes():
            return False
    return True


def _agreed(preset: str, found: Architecture, where: str) -> Architecture:
    """`found`; ConfigError if the preset is another architecture."""
    trees = [identity(a, rows=0) for a in (find_architecture(preset), found)]
    other = differing(*trees)
    if other:
        told = "; ".join(f"{key} {trees[0][key]!r} and {trees[1][key]!r}" for key in other)
        raise ConfigError(
            f"model.preset={preset} and model.hf={where} are different models: {told}. Leave "
            "model.preset empty (model.preset=) to take what the folder says."
        )
    return found


def _read(paths: Mapping[str, Path]) -> dict[str, bytes]:
    try:
        return {name: path.read_bytes() for name, path in paths.items()}
    except OSError as error:
        raise CheckpointError(
            f"cannot read {error.filename}, which travels with the model: {error.strerror}."
        ) from None


def _stored(folder: Path) -> Architecture:
    try:
        return architecture_in(read_meta(folder), folder)
    except CheckpointError as error:
        raise CheckpointError(f"{error} Or name its architecture with model.preset.") from None
