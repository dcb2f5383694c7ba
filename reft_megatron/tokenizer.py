"""Text to token ids and back.

Owns one small interface over sentencepiece models and Hugging Face `tokenizer.json` files. Does not
train tokenizers (`tokenizer_training`) and does not know prompts (`tasks.prompts`).

The rule of dummy prefixes. ReFT tokenises a text in two pieces and needs the cut not to matter:
`encode(prefix) + encode(rest) == encode(prompt) + encode(answer)`. Tokenizers of the LLaMA kind put
a space before every text they are given, hence before every *piece* of a text, and break this. So
the dummy space is switched off when such a tokenizer is loaded, for encoding and decoding alike: a
text never gains a space, wherever it begins. The one difference to the usual tokenisation is the
first word of a text, which stands without its space (`def`, not `_def`).

Try it: `load_tokenizer("tokenizer.model").encode("Question:\\n")`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2

from reft_megatron.errors import ConfigError

__all__ = ["Tokenizer", "load_tokenizer"]

_EOS_NAMES = ("</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "[EOS]")
_PAD_NAMES = ("<pad>", "[PAD]", "<|pad|>", "<|padding|>", "<|finetune_right_pad_id|>")
_BOS_NAMES = ("<s>", "<|begin_of_text|>", "<bos>", "[BOS]")
_WANTED = "a sentencepiece .model or a Hugging Face tokenizer.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """A tokenizer; `decode(encode(text)) == text`.

    What the file itself changes stays changed: normalisation other than identity, characters
    outside its alphabet where it has no byte pieces, and, in sentencepiece, the character U+2581,
    its mark of a space, which reads back as one.
    """

    eos_id: int
    """Id of the end-of-sequence token."""
    pad_id: int
    """Id that fills a row; the beginning- or end-of-sequence id where the file has no padding."""
    vocab_size: int
    """One more than the largest id, before padding for tensor parallelism."""
    fingerprint: str
    """Sixteen hex digits that change with any byte of the file; saved in checkpoints."""
    special_ids: frozenset[int]
    """Ids that stand for no text (beginning, end, padding, unknown, ...)."""
    text_to_ids: Callable[[str], list[int]]
    """The library's encoding."""
    ids_to_text: Callable[[list[int]], str]
    """The library's decoding."""

    def encode(self, text: str) -> list[int]:
        """Ids of `text` [tokens]; no special token is added, and none is read from the text."""
        return self.text_to_ids(text)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids` [tokens]; special tokens are dropped, spaces stay as they are."""
        return self.ids_to_text([int(i) for i in ids if int(i) not in self.special_ids])


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Read a sentencepiece model or a Hugging Face `tokenizer.json`, told apart by their content.

    A file without a padding token pads with its beginning-of-sequence token (as the authors' code
    does for CodeLlama: pad 1 is `<s>`), or with its end-of-sequence token where it has neither.

    Raises:
        ConfigError: no file is named, it is missing, is not a tokenizer, or has no
            end-of-sequence token.
    """
    path = Path(path)
    if not path.name:
        raise ConfigError(f"no tokenizer: set tokenizer.path to {_WANTED}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read the tokenizer file {path}: {error.strerror}; "
            f"set tokenizer.path to {_WANTED}"
        ) from None
    load = _load_json if content.lstrip().startswith(b"{") else _load_sentencepiece
    return load(path, content)


def _load_sentencepiece(path: Path, content: bytes) -> Tokenizer:
    try:
        proto = sentencepiece_model_pb2.ModelProto.FromString(content)
        # The rule of dummy prefixes, and spaces that survive the round trip.
        proto.normalizer_spec.add_dummy_prefix = False
        proto.normalizer_spec.remove_extra_whitespaces = False
        model = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    except (DecodeError, RuntimeError):
        raise _not_a_tokenizer(path) from None
    if model.eos_id() < 0:
        raise ConfigError(
            f"the tokenizer {path} has no end-of-sequence token: train it with an eos_id"
        )
    ids = range(model.get_piece_size())
    return Tokenizer(
        eos_id=model.eos_id(),
        pad_id=next(i for i in (model.pad_id(), model.bos_id(), model.eos_id()) if i >= 0),
        vocab_size=len(ids),
        fingerprint=_fingerprint(content),
        special_ids=frozenset(i for i in ids if model.is_control(i) or model.is_unknown(i)),
        text_to_ids=model.encode,
        ids_to_text=model.decode,
    )


def _load_json(path: Path, content: bytes) -> Tokenizer:
    try:
        spec = json.loads(content)
        for part in ("normalizer", "pre_tokenizer", "decoder"):
            spec[part] = next(iter(_without_dummy_prefix([spec.get(part)])), None)
        model = tokenizers.Tokenizer.from_str(json.dumps(spec))
        added = {token["content"]: token for token in spec.get("added_tokens", [])}
    except Exception:  # the library raises nothing narrower
        raise _not_a_tokenizer(path) from None
    # A question that spells `</s>` must stay text.
    model.encode_special_tokens = True
    model.no_truncation()
    model.no_padding()
    eos = next((name for name in _EOS_NAMES if name in added), None)
    if eos is None:
        raise ConfigError(
            f"the tokenizer {path} has no end-of-sequence token: "
            f"its added_tokens hold none of {', '.join(_EOS_NAMES)}"
        )
    pad = next(name for name in (*_PAD_NAMES, *_BOS_NAMES, eos) if name in added)
    known = {eos, pad} | {name for name, token in added.items() if token["special"]}
    return Tokenizer(
        eos_id=added[eos]["id"],
        pad_id=added[pad]["id"],
        vocab_size=1 + max(model.get_vocab(with_added_tokens=True).values()),
        fingerprint=_fingerprint(content),
        special_ids=frozenset(added[name]["id"] for name in known),
        text_to_ids=lambda text: model.encode(text, add_special_tokens=False).ids,
        ids_to_text=lambda ids: model.decode(ids, skip_special_tokens=False),
    )


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


def _not_a_tokenizer(path: Path) -> ConfigError:
    return ConfigError(f"{path} is not a tokenizer: set tokenizer.path to {_WANTED}")


def _fingerprint(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
