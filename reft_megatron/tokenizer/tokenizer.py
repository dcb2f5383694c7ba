"""The tokenizer that a run holds.

Owns the rule of beginnings and continuations. Tokenizers of the LLaMA kind put a space, the dummy
prefix, before every text they are given. That is right where a sequence begins and wrong in the
middle of one, and an answer that follows its prompt is no text of its own. So there are two
encodings. `encode` is for a text that begins a sequence and gives the library's ids;
`encode_continuation` is for what comes after it and gains no space. Where no token reaches across
the cut, as at the newlines where prompts end, the cut does not matter:
`encode(prompt) + encode_continuation(answer) == encode(prompt + answer)`. What a model writes is a
continuation, so `decode` reads continuations. Without a dummy prefix both encodings are the same.

Try it: `load_tokenizer("tokenizer.model").encode("Question:\\n")`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from reft_megatron.errors import ConfigError
from reft_megatron.tokenizer.coder import Ends, read_coder
from reft_megatron.tokenizer.folder import tokenizer_file, told_ends

__all__ = ["Tokenizer", "load_tokenizer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """A tokenizer; `decode(encode_continuation(text)) == text`.

    What the file itself changes stays changed: normalisation other than identity, characters
    outside its alphabet where it has no byte pieces, and, in sentencepiece, the character U+2581,
    its mark of a space, which reads back as one.
    """

    eos_id: int
    """Id of the end-of-sequence token, which training appends and generation stops at."""
    pad_id: int
    """Id that fills a row; the beginning- or end-of-sequence id where there is no padding token."""
    vocab_size: int
    """One more than the largest id, before padding for tensor parallelism."""
    fingerprint: str
    """Sixteen hex digits that change with any byte of the tokenizer file; saved in checkpoints."""
    special_ids: frozenset[int]
    """Ids that stand for no text (beginning, end, padding, unknown, ...)."""
    text_to_ids: Callable[[str], list[int]]
    """The library's encoding."""
    continuation_to_ids: Callable[[str], list[int]]
    """The library's encoding without a dummy prefix."""
    ids_to_text: Callable[[list[int]], str]
    """The library's decoding without a dummy prefix."""

    def encode(self, text: str) -> list[int]:
        """Ids [tokens] of a `text` that begins a sequence, as the library gives them.

        No special token is added, and none is read from the text.
        """
        return self.text_to_ids(text)

    def encode_continuation(self, text: str) -> list[int]:
        """Ids [tokens] of a `text` that follows another in its sequence; no space is added."""
        return self.continuation_to_ids(text)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of the `ids` [tokens] of a continuation.

        Special tokens are dropped, spaces stay as they are: also the dummy prefix of a beginning.
        """
        return self.ids_to_text([int(i) for i in ids if int(i) not in self.special_ids])


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Read a sentencepiece model or a `tokenizer.json`, told apart by their content, or a folder.

    In a folder `tokenizer.json` goes before `tokenizer.model`, and the files beside it say which
    tokens end, pad and begin a text: `tokenizer_config.json`, `special_tokens_map.json`,
    `generation_config.json`, `config.json`, the first that speaks. Of a list of end-of-sequence
    ids, the first that every file of the folder names is the one there is. What no file says, and
    all of it for a file that is named itself, is known by the usual names (`</s>`, `<pad>`, ...).

    Without a padding token the beginning-of-sequence token pads (as in the authors' code for
    CodeLlama: pad 1 is `<s>`), or the end-of-sequence token where there is neither.

    Raises:
        ConfigError: nothing is named, or what is named is missing, is not a tokenizer, has no
            end-of-sequence token, or adds spaces inside texts; or a folder contradicts itself.
    """
    file = tokenizer_file(path)
    coder = read_coder(file)
    told = told_ends(file, coder) if Path(path).is_dir() else Ends()
    eos = _first(told.eos, coder.ends.eos)
    if eos is None:
        raise ConfigError(f"the tokenizer {file} has no end-of-sequence token: {coder.no_eos}")
    bos = _first(told.bos, coder.ends.bos)
    pad = _first(told.pad, coder.ends.pad, bos, eos)
    assert pad is not None
    return Tokenizer(
        eos_id=eos,
        pad_id=pad,
        vocab_size=coder.vocab_size,
        fingerprint=coder.fingerprint,
        special_ids=coder.special | {eos} | (coder.added & {pad, bos}),
        text_to_ids=coder.begin,
        continuation_to_ids=coder.go_on,
        ids_to_text=coder.decode,
    )


def _first(*ids: int | None) -> int | None:
    return next((i for i in ids if i is not None), None)
