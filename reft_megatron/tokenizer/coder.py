"""What one tokenizer file says by itself.

Owns the two libraries, the two ways in which each encodes (at the beginning of a sequence and
within it, see `tokenizer`), and the special tokens that a file tells of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2

from reft_megatron.errors import ConfigError

__all__ = ["WANTED", "Coder", "Ends", "is_json", "read_coder", "read_file"]

WANTED = "a sentencepiece .model, a Hugging Face tokenizer.json, or a folder that holds one"
"""What `tokenizer.path` may name."""

_EOS_NAMES = ("</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "[EOS]")
_PAD_NAMES = ("<pad>", "[PAD]", "<|pad|>", "<|padding|>", "<|finetune_right_pad_id|>")
_BOS_NAMES = ("<s>", "<|begin_of_text|>", "<bos>", "[BOS]")
_PROBE = "a\nb c"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Ids of the tokens at the ends of a text; None for what is not told."""

    eos: int | None = None
    """End of sequence."""
    pad: int | None = None
    """Padding."""
    bos: int | None = None
    """Beginning of sequence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coder:
    """A tokenizer file, read."""

    begin: Callable[[str], list[int]]
    """Encodes a text that begins a sequence."""
    go_on: Callable[[str], list[int]]
    """Encodes a continuation."""
    decode: Callable[[list[int]], str]
    """Decodes a continuation."""
    find: Callable[[str], int | None]
    """Id of a token by its name."""
    vocab_size: int
    """One more than the largest id."""
    ends: Ends
    """What it tells of its special tokens."""
    dummy_prefix: bool
    """True if a beginning gains a space."""
    special: frozenset[int]
    """Ids that it marks as special."""
    added: frozenset[int]
    """Ids that stand beside the pieces of text; not all need be special."""
    no_eos: str
    """Why it has no end-of-sequence token, where it has none."""
    fingerprint: str
    """Sixteen hex digits that change with any byte of it."""


def read_coder(path: Path) -> Coder:
    """Read a sentencepiece model or a `tokenizer.json`, told apart by their content.

    Raises:
        ConfigError: it cannot be read, is not a tokenizer, or adds spaces inside texts.
    """
    content = read_file(path)
    return _of_json(path, content) if is_json(content) else _of_sentencepiece(path, content)


def read_file(path: Path) -> bytes:
    """All of a file; raises ConfigError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read the tokenizer file {path}: {error.strerror}; "
            f"set tokenizer.path to {WANTED}"
        ) from None


def is_json(content: bytes) -> bool:
    """True for a `tokenizer.json`, False for a sentencepiece model."""
    return content.lstrip().startswith(b"{")


def _of_sentencepiece(path: Path, content: bytes) -> Coder:
    try:
        proto = sentencepiece_model_pb2.ModelProto.FromString(content)
        # Spaces that survive the round trip: they indent programs.
        proto.normalizer_spec.remove_extra_whitespaces = False
        begin = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
        proto.normalizer_spec.add_dummy_prefix = False
        go_on = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    except (DecodeError, RuntimeError):
        raise _not_a_tokenizer(path) from None
    prefix = _dummy_prefix(path, *(m.encode(_PROBE, out_type=str) for m in (begin, go_on)))
    eos, pad, bos = (None if i < 0 else i for i in (go_on.eos_id(), go_on.pad_id(), go_on.bos_id()))
    ids = range(go_on.get_piece_size())
    special = frozenset(i for i in ids if go_on.is_control(i) or go_on.is_unknown(i))

    def find(name: str) -> int | None:
        found: int = go_on.piece_to_id(name)
        return found if go_on.id_to_piece(found) == name else None

    return Coder(
        begin=begin.encode,
        go_on=go_on.encode,
        decode=go_on.decode,
        find=find,
        vocab_size=len(ids),
        ends=Ends(eos=eos, pad=pad, bos=bos),
        dummy_prefix=prefix,
        special=special,
        added=special,
        no_eos="train it with an eos_id",
        fingerprint=_fingerprint(content),
    )


def _of_json(path: Path, content: bytes) -> Coder:
    try:
        spec = json.loads(content)
        begin = _library(spec)
        for part in ("normalizer", "pre_tokenizer", "decoder"):
            spec[part] = next(iter(_without_dummy_prefix([spec.get(part)])), None)
        go_on = _library(spec)
        added = {token["content"]: token for token in spec.get("added_tokens", [])}
    except Exception:  # the library raises nothing narrower
        raise _not_a_tokenizer(path) from None
    prefix = _dummy_prefix(path, *(model.encode(_PROBE).tokens for model in (begin, go_on)))

    def named(names: Iterable[str]) -> int | None:
        return next((added[name]["id"] for name in names if name in added), None)

    return Coder(
        begin=lambda text: begin.encode(text, add_special_tokens=False).ids,
        go_on=lambda text: go_on.encode(text, add_special_tokens=False).ids,
        decode=lambda ids: go_on.decode(ids, skip_special_tokens=False),
        find=go_on.token_to_id,
        vocab_size=1 + max(go_on.get_vocab(with_added_tokens=True).values()),
        ends=Ends(eos=named(_EOS_NAMES), pad=named(_PAD_NAMES), bos=named(_BOS_NAMES)),
        dummy_prefix=prefix,
        special=frozenset(token["id"] for token in added.values() if token["special"]),
        added=frozenset(token["id"] for token in added.values()),
        no_eos=f"its added_tokens hold none of {', '.join(_EOS_NAMES)}",
        fingerprint=_fingerprint(content),
    )


def _library(spec: dict[str, Any]) -> tokenizers.Tokenizer:
    model = tokenizers.Tokenizer.from_str(json.dumps(spec))
    # A question that spells `</s>` must stay text.
    model.encode_special_tokens = True
    model.no_truncation()
    model.no_padding()
    return model


def _without_dummy_prefix(part: Any) -> Any:
    """A part of a `tokenizer.json` with every step switched off that adds or strips the space."""
    if isinstance(part, list):
        kept = [p for p in part if not (isinstance(p, dict) and p.get("type") == "Prepend")]
        return [_without_dummy_prefix(p) for p in kept]
    if not isinstance(part, dict):
        return part
    off = {"add_prefix_space": False, "prepend_scheme": "never"}
    if part.get("type") == "Strip":
        off["start"] = 0
    return {key: off[key] if key in off else _without_dummy_prefix(part[key]) for key in part}


def _dummy_prefix(path: Path, begin: Sequence[str], go_on: Sequence[str]) -> bool:
    """True if the pieces of the probe, a beginning and a continuation, show a dummy prefix.

    One that is not at the beginning alone is refused: it leaves no continuation that fits.
    """
    beginning, continuation = "".join(begin), "".join(go_on)
    if not beginning.endswith(continuation):
        raise ConfigError(
            f"the tokenizer {path} adds a space to every piece of a text, not only where the text "
            "begins, so prompts and answers cannot be joined: use a tokenizer whose "
            "prepend_scheme is `first`"
        )
    return beginning != continuation


def _not_a_tokenizer(path: Path) -> ConfigError:
    return ConfigError(f"{path} is not a tokenizer: set tokenizer.path to {WANTED}")


def _fingerprint(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
