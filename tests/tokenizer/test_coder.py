"""Tests of what one tokenizer file says by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece
import tokenizers

from reft_megatron.errors import ConfigError
from reft_megatron.tokenizer.coder import Ends, is_json, read_coder
from tests.tokenizer.specimens import KINDS, TEXTS, WANTED, llama_model, metaspace_json


def test_a_beginning_is_encoded_as_by_sentencepiece(files: dict[str, Path]) -> None:
    library = sentencepiece.SentencePieceProcessor(model_file=str(files["llama model"]))
    coder = read_coder(files["llama model"])
    for text in [*TEXTS, "", " ", "  two", "\n"]:
        assert coder.begin(text) == library.encode(text)
    assert library.encode("a\n") + library.encode("def") != library.encode("a\ndef")


@pytest.mark.parametrize("kind", ["galactica", "prepend json", "metaspace json"])
def test_a_beginning_is_encoded_as_by_tokenizers(files: dict[str, Path], kind: str) -> None:
    library = tokenizers.Tokenizer.from_file(str(files[kind]))
    coder = read_coder(files[kind])
    for text in [*TEXTS, "", " ", "  two", "\n"]:
        assert coder.begin(text) == library.encode(text, add_special_tokens=False).ids


def test_the_libraries_alone_break_the_cut(files: dict[str, Path]) -> None:
    """What continuations are for."""
    library = tokenizers.Tokenizer.from_file(str(files["prepend json"]))
    assert library.encode("a\n").ids + library.encode("def").ids != library.encode("a\ndef").ids


@pytest.mark.parametrize("kind", KINDS)
def test_the_dummy_prefix_is_seen(files: dict[str, Path], kind: str) -> None:
    assert read_coder(files[kind]).dummy_prefix == (kind not in ("ours", "galactica"))


def test_what_the_files_tell(files: dict[str, Path]) -> None:
    told = {kind: read_coder(path).ends for kind, path in files.items()}
    assert told["ours"] == told["galactica"] == Ends(eos=2, pad=1, bos=0)
    assert told["llama model"] == told["prepend json"] == Ends(eos=2, bos=1)


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_found_by_name(files: dict[str, Path], kind: str) -> None:
    coder = read_coder(files[kind])
    assert coder.find("</s>") == 2
    assert coder.find("<no such token>") is None


def test_kinds_are_told_apart_by_content(files: dict[str, Path]) -> None:
    assert {kind for kind in KINDS if is_json(files[kind].read_bytes())} == {
        "galactica", "prepend json", "metaspace json",
    }  # fmt: skip
    assert is_json(b" \n{")


def test_a_space_before_every_line_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    metaspace_json(path, scheme="always")
    with pytest.raises(ConfigError) as error:
        read_coder(path)
    assert str(error.value) == (
        f"the tokenizer {path} adds a space to every piece of a text, not only where the text "
        "begins, so prompts and answers cannot be joined: use a tokenizer whose prepend_scheme "
        "is `first`"
    )


def test_a_space_behind_a_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "suffix.model"
    llama_model(path, treat_whitespace_as_suffix=True)
    with pytest.raises(ConfigError, match="not only where the text begins"):
        read_coder(path)


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "absent.model"
    with pytest.raises(ConfigError) as error:
        read_coder(path)
    assert str(error.value) == (
        f"cannot read the tokenizer file {path}: No such file or directory; {WANTED}"
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"\x0a", b"hello", b"{", b"{}", b"{\xff", b'{"added_tokens": 1}', b'{"model": null}'],
)
def test_not_a_tokenizer(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        read_coder(path)
    assert str(error.value) == f"{path} is not a tokenizer: {WANTED}"
