"""The folder of a Hugging Face checkpoint, as far as it concerns its tokenizer.

Owns the names of its files, which of them is the tokenizer, and what the others say of the tokens
that end, pad and begin a text. What they say is believed only where it is no contradiction: a wrong
end-of-sequence token costs a whole run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reft_megatron.errors import ConfigError
from reft_megatron.tokenizer.coder import WANTED, Coder, Ends, is_json, read_file

__all__ = ["tokenizer_file", "tokenizer_files", "told_ends"]

_JSON, _MODEL, _ADDED = "tokenizer.json", "tokenizer.model", "added_tokens.json"
_NAMING = ("tokenizer_config.json", "special_tokens_map.json")
_NUMBERING = ("generation_config.json", "config.json")
_PARTS = ("vocab.json", "merges.txt")
_TRAVELLING = (
    *(_JSON, _MODEL, _ADDED, *_NAMING, *_PARTS),
    *("chat_template.jinja", "chat_template.json"),
)


def tokenizer_file(path: str | Path) -> Path:
    """The tokenizer itself: `path`, or the `tokenizer.json` or `tokenizer.model` in that folder.

    Raises:
        ConfigError: nothing is named, or the folder holds neither, as those of facebook/opt-*.
    """
    if not str(path):
        raise ConfigError(f"no tokenizer: set tokenizer.path to {WANTED}")
    path = Path(path)
    if not path.is_dir():
        return path
    for name in (_JSON, _MODEL):
        if (path / name).is_file():
            return path / name
    if all((path / name).is_file() for name in _PARTS):
        raise ConfigError(
            f"the folder {path} holds its tokenizer as {' and '.join(_PARTS)} alone, and {_JSON} "
            "is wanted. Save one with transformers: AutoTokenizer.from_pretrained(FOLDER)"
            ".save_pretrained(FOLDER)"
        )
    raise ConfigError(
        f"the folder {path} holds neither {_JSON} nor {_MODEL}: set tokenizer.path to {WANTED}"
    )


def tokenizer_files(path: str | Path) -> dict[str, Path]:
    """The files that travel with a checkpoint, untouched: name there -> where it is now.

    Of a folder all those that Hugging Face's tokenizers read; of a file that one, which is called
    `tokenizer.json` or `tokenizer.model` there.

    Raises:
        ConfigError: nothing is named, or there is no tokenizer.
    """
    file = tokenizer_file(path)
    if Path(path).is_dir():
        return {name: file.parent / name for name in _TRAVELLING if (file.parent / name).is_file()}
    return {_JSON if is_json(read_file(file)) else _MODEL: file}


def told_ends(file: Path, coder: Coder) -> Ends:
    """What the files beside the tokenizer `file` say of its special tokens.

    Raises:
        ConfigError: one of them is damaged or tells of a token, an id or a dummy prefix that the
            tokenizer does not have, or they do not agree on the end-of-sequence token.
    """
    said = {name: _settings(file.with_name(name)) for name in (*_NAMING, *_NUMBERING)}
    config = file.with_name(_NAMING[0])
    _check_added_tokens(file, coder, said[config.name])
    prefix = said[config.name].get("add_prefix_space")
    if prefix not in (None, coder.dummy_prefix):
        does = "adds a space" if coder.dummy_prefix else "adds no space"
        raise ConfigError(
            f"{config} has add_prefix_space {json.dumps(prefix)}, but {file.name} {does} where a "
            "text begins: correct the one that is wrong"
        )
    eos, pad, bos = (_told(file, coder, said, role=role) for role in ("eos", "pad", "bos"))
    return Ends(eos=_agreed(file.parent, eos), pad=_first(pad), bos=_first(bos))


def _settings(path: Path) -> dict[str, Any]:
    """What a file of settings says; nothing where there is none."""
    if not path.exists():
        return {}
    try:
        found = json.loads(read_file(path))
    except ValueError:  # not JSON, or not UTF-8
        found = None
    if not isinstance(found, dict):
        raise _damaged(path)
    return found


def _check_added_tokens(file: Path, coder: Coder, config: dict[str, Any]) -> None:
    """Refuse tokens that the library would add: here they would be encoded as plain text."""
    added = list(_settings(file.with_name(_ADDED)).items())
    try:
        for i, token in config.get("added_tokens_decoder", {}).items():
            added.append((token["content"], int(i)))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _damaged(file.with_name(_NAMING[0])) from None
    for token, i in added:
        if coder.find(token) != i:
            raise ConfigError(
                f"{file} has no token {token!r} with id {i}, which a file beside it adds: save "
                f"the tokenizer anew, as a {_JSON} that holds every token"
            )


def _told(
    file: Path, coder: Coder, said: dict[str, dict[str, Any]], *, role: str
) -> dict[str, list[int]]:
    """Ids for a role by the file that gives them; files that do not speak of it are left out."""
    told: dict[str, list[int]] = {}
    for name in _NAMING:
        token = said[name].get(f"{role}_token")
        token = token.get("content") if isinstance(token, dict) else token
        if token is not None:
            found = coder.find(token) if isinstance(token, str) else None
            if found is None:
                raise _unknown(file, name, f"{role}_token {token!r}")
            told[name] = [found]
    for name in _NUMBERING:
        ids = said[name].get(f"{role}_token_id")
        # Old checkpoints write -1 for a token that they do not have.
        ids = [i for i in (ids if isinstance(ids, list) else [ids]) if i not in (None, -1)]
        for i in ids:
            if i not in range(coder.vocab_size):
                raise _unknown(file, name, f"{role}_token_id {i!r}")
        if ids:
            told[name] = ids
    return told


def _agreed(folder: Path, told: dict[str, list[int]]) -> int | None:
    """The first end-of-sequence id that all files tell of."""
    for i in [i for ids in told.values() for i in ids]:
        if all(i in ids for ids in told.values()):
            return i
    if not told:
        return None
    sayings = ", ".join(f"{name} says {', '.join(map(str, ids))}" for name, ids in told.items())
    raise ConfigError(
        f"the files of {folder} do not agree on the id of the end-of-sequence token: {sayings}. "
        "Correct those that are wrong."
    )


def _first(told: dict[str, list[int]]) -> int | None:
    return next((ids[0] for ids in told.values()), None)


def _unknown(file: Path, name: str, what: str) -> ConfigError:
    return ConfigError(
        f"{file.with_name(name)} tells of {what}, which {file.name} does not have: "
        "correct the one that is wrong"
    )


def _damaged(path: Path) -> ConfigError:
    return ConfigError(f"{path} is damaged: it is not as Hugging Face writes it; fetch it anew")
