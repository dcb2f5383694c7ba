"""Tests of tokenizer training."""

from __future__ import annotations

from pathlib import Path

import pytest

from reft_megatron.errors import ConfigError
from reft_megatron.tokenizer import Tokenizer, load_tokenizer
from reft_megatron.tokenizer_training import train_tokenizer

TEXTS = [
    f"def solution():\n    eggs = {number}\n        return eggs + {number + 7}.5\n"
    for number in range(0, 2000, 3)
]


def trained(path: Path, whole_numbers: int) -> Tokenizer:
    train_tokenizer(TEXTS, path, vocab_size=500, whole_numbers=whole_numbers)
    return load_tokenizer(path)


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.decode([i]) for i in tokenizer.encode(text)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return trained(tmp_path_factory.mktemp("whole") / "tokenizer.model", 100)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("digits") / "tokenizer.model"
    train_tokenizer(TEXTS, path, vocab_size=310)
    return load_tokenizer(path)


def test_digits_are_apart(digits: Tokenizer) -> None:
    assert pieces(digits, "eggs = 1998.5") == ["eggs", " =", " ", "1", "9", "9", "8", ".", "5"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("= 7", [" 7"]),
        ("= 99", [" 99"]),
        ("=99", ["99"]),
        ("= 100", [" 10", "0"]),
        ("= 1234", [" 12", "34"]),
        ("= 05", [" 0", "5"]),
        ("= 12.75", [" 12", ".", "75"]),
    ],
)
def test_numbers_under_the_limit_are_whole(
    whole: Tokenizer, text: str, expected: list[str]
) -> None:
    assert pieces(whole, text)[1:] == expected


def test_newlines_and_indentation_are_pieces(whole: Tokenizer) -> None:
    assert pieces(whole, "\n\n        eggs") == ["\n", "\n", "    ", "    ", "eggs"]


def test_special_ids_are_those_of_galactica(whole: Tokenizer) -> None:
    assert (whole.pad_id, whole.eos_id, whole.vocab_size) == (1, 2, 500)
    assert whole.special_ids == {0, 1, 2, 3}


def test_rare_characters_become_bytes(whole: Tokenizer) -> None:
    assert len(whole.encode("\u20ac")) == len("\u20ac".encode())
    assert whole.decode(whole.encode("\u20ac 5")) == "\u20ac 5"


def test_training_is_deterministic(tmp_path: Path, whole: Tokenizer) -> None:
    assert trained(tmp_path / "again.model", 100).fingerprint == whole.fingerprint


def test_texts_above_the_default_length_limit_of_sentencepiece_count(tmp_path: Path) -> None:
    path = tmp_path / "long.model"
    train_tokenizer(["zebra " * 2000], path, vocab_size=275)
    assert "zebra" in pieces(load_tokenizer(path), "zebra zebra")


@pytest.mark.parametrize(
    ("texts", "vocab_size", "reason"),
    [
        ([], 300, "there are no texts"),
        (
            ["hello\n"],
            300,
            "Vocabulary size too high (300). Please set it to a value <= 274.",
        ),
        (
            ["hello\n"],
            30,
            "Vocabulary size is smaller than required_chars. 30 vs 266. Increase vocab_size or "
            "decrease character_coverage with --character_coverage option.",
        ),
    ],
)
def test_vocabulary_that_does_not_fit(
    tmp_path: Path, texts: list[str], vocab_size: int, reason: str
) -> None:
    path = tmp_path / "tokenizer.model"
    with pytest.raises(ConfigError) as error:
        train_tokenizer(texts, path, vocab_size=vocab_size)
    assert str(error.value) == f"cannot train a tokenizer of {vocab_size} pieces: {reason}"
    assert not path.exists()


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "tokenizer.model"
    with pytest.raises(ConfigError) as error:
        train_tokenizer(TEXTS, path, vocab_size=310)
    assert str(error.value) == f"cannot write the tokenizer {path}: No such file or directory"
