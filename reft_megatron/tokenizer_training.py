"""Training a sentencepiece tokenizer on texts.

Owns the recipe: byte-pair merges, ids as Galactica's (`<s>` 0, `<pad>` 1, `</s>` 2, `<unk>` 3),
newline and four spaces as pieces, digits apart, nothing normalised, bytes for whatever is rare.
Does not know where texts come from; `tools/train_tokenizer.py` does.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import sentencepiece

from reft_megatron.errors import ConfigError

__all__ = ["train_tokenizer"]

# How sentencepiece writes a space.
_SPACE = "\u2581"
_LONGEST_TEXT = 1 << 20


def train_tokenizer(
    texts: Iterable[str],
    path: str | Path,
    *,
    vocab_size: int,
    whole_numbers: int = 0,
    symbols: Sequence[str] = (),
) -> None:
    """Train on `texts` and write the model to `path`; the same texts give the same bytes.

    Every digit is a token of its own. With `whole_numbers` N, the numbers 0 to N - 1 are tokens
    too, with and without a space before them, and a longer run of digits is cut from the left into
    the longest of them (N = 100: `1234` is `12`, `34`). Each of `symbols` is one token wherever it
    occurs. Texts over a mebibyte are left out.

    Raises:
        ConfigError: there are no texts, or they cannot fill or do not fit `vocab_size`.
    """
    numbers = [space + str(n) for space in ("", _SPACE) for n in range(whole_numbers)]
    whole = [symbol.replace(" ", _SPACE) for symbol in symbols]
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            user_defined_symbols=["\n", _SPACE * 4, *numbers, *whole],
            split_digits=True,
            byte_fallback=True,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            bos_id=0,
            pad_id=1,
            eos_id=2,
            unk_id=3,
            max_sentence_length=_LONGEST_TEXT,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        # The library's message is `INTERNAL: file(line) [condition] sentence`.
        reason = str(error).rpartition("] ")[2].strip() or "there are no texts"
        raise ConfigError(f"cannot train a tokenizer of {vocab_size} pieces: {reason}") from None
    try:
        Path(path).write_bytes(model.getvalue())
    except OSError as error:
        raise ConfigError(f"cannot write the tokenizer {path}: {error.strerror}") from None
