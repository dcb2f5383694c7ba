"""Tests of the tokenizer that a run holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reft_megatron.errors import ConfigError
from reft_megatron.tasks.prompts import prompt_text, supervised_text
from reft_megatron.tokenizer import Tokenizer, load_tokenizer
from tests.tokenizer.specimens import (
    KINDS,
    PROBLEMS,
    TEXTS,
    galactica_folder,
    llama_folder,
    llama_model,
    write_settings,
)

PREFIXED = ["llama model", "prepend json", "metaspace json"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_cut_between_prompt_and_answer_does_not_matter(
    loaded: dict[str, Tokenizer], kind: str
) -> None:
    encode, go_on = loaded[kind].encode, loaded[kind].encode_continuation
    for problem in PROBLEMS:
        prompt, answer = supervised_text(problem, "program")
        prefix = prompt_text(problem, "program", "correct")
        rest = (prompt + answer).removeprefix(prefix)
        assert prefix + rest == prompt + answer
        assert encode(prefix) + go_on(rest) == encode(prompt) + go_on(answer)
        assert encode(prefix) + go_on(rest) == encode(prompt + answer)


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_beginning_gains_a_space(loaded: dict[str, Tokenizer], kind: str) -> None:
    tokenizer = loaded[kind]
    text = "a text\nof lines"
    space = " " if kind in PREFIXED else ""
    assert tokenizer.decode(tokenizer.encode(text)) == space + text
    assert tokenizer.decode(tokenizer.encode_continuation(text)) == text


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(PREFIXED)))
def test_without_a_dummy_prefix_both_encodings_are_one(
    loaded: dict[str, Tokenizer], kind: str
) -> None:
    for text in TEXTS:
        assert loaded[kind].encode(text) == loaded[kind].encode_continuation(text)


@pytest.mark.parametrize("kind", KINDS)
def test_decode_inverts_encode(loaded: dict[str, Tokenizer], kind: str) -> None:
    texts = [*TEXTS, "", " ", "  two  spaces  ", "\n\n", "\tx\r\n", "3 . 5 , n't", "</s><pad><s>"]
    for text in texts:
        assert loaded[kind].decode(loaded[kind].encode_continuation(text)) == text


@pytest.mark.parametrize("kind", ["ours", "galactica", "llama model"])
@settings(max_examples=150, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581")))
def test_decode_inverts_encode_on_any_text(
    loaded: dict[str, Tokenizer], kind: str, text: str
) -> None:
    ids = loaded[kind].encode_continuation(text)
    assert loaded[kind].decode(ids) == text
    assert not set(ids) & loaded[kind].special_ids


def test_the_space_mark_of_sentencepiece_reads_back_as_a_space(
    loaded: dict[str, Tokenizer],
) -> None:
    assert loaded["ours"].decode(loaded["ours"].encode("a\u2581b")) == "a b"


@pytest.mark.parametrize("kind", KINDS)
def test_decode_drops_special_tokens(loaded: dict[str, Tokenizer], kind: str) -> None:
    tokenizer = loaded[kind]
    ids = tokenizer.encode_continuation("return result")
    special = [tokenizer.pad_id, tokenizer.eos_id, *tokenizer.special_ids]
    assert tokenizer.decode([*special, *ids[:1], *special, *ids[1:], *special]) == "return result"
    assert tokenizer.decode(np.array([*ids, tokenizer.eos_id], dtype=np.int32)) == "return result"


def test_ids(loaded: dict[str, Tokenizer]) -> None:
    ids = {kind: (t.pad_id, t.eos_id, t.vocab_size) for kind, t in loaded.items()}
    assert ids == dict.fromkeys(KINDS, (1, 2, 1000))
    assert loaded["ours"].special_ids == {0, 1, 2, 3}
    assert loaded["galactica"].special_ids == {0, 1, 2, 3, 4, 5}
    assert loaded["llama model"].special_ids == {0, 1, 2}
    assert loaded["prepend json"].special_ids == {0, 1, 2}


def test_padding_falls_back_to_the_end_of_sequence(tmp_path: Path) -> None:
    path = tmp_path / "no_bos.model"
    llama_model(path, bos_id=-1, eos_id=1)
    assert (load_tokenizer(path).pad_id, load_tokenizer(path).eos_id) == (1, 1)


def test_galactica_digits_and_newlines_stand_alone(loaded: dict[str, Tokenizer]) -> None:
    tokenizer = loaded["galactica"]
    pieces = [tokenizer.decode([i]) for i in tokenizer.encode("a = 1234\n\n")]
    assert pieces == ["a", " =", " ", "1", "2", "3", "4", "\n", "\n"]


def test_the_fingerprint_is_of_the_bytes(files: dict[str, Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy.json"
    copy.write_bytes(files["galactica"].read_bytes())
    assert load_tokenizer(copy).fingerprint == load_tokenizer(files["galactica"]).fingerprint
    copy.write_bytes(files["galactica"].read_bytes() + b"\n")
    assert load_tokenizer(copy).fingerprint != load_tokenizer(files["galactica"]).fingerprint


@pytest.mark.parametrize("make", [galactica_folder, llama_folder])
def test_a_folder_is_its_tokenizer_file(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    folder = make(tmp_path)
    (file,) = tmp_path.glob("tokenizer.[jm]*")
    whole, alone = load_tokenizer(str(folder)), load_tokenizer(file)
    assert whole.fingerprint == alone.fingerprint
    assert whole.encode(TEXTS[0]) == alone.encode(TEXTS[0])
    assert (whole.eos_id, whole.pad_id, whole.special_ids) == (2, 1, alone.special_ids)


def test_a_folder_names_tokens_that_the_file_does_not_tell(tmp_path: Path) -> None:
    """`[START_REF]` (4) ends here, and a piece of text (7) pads; which stays text."""
    galactica_folder(tmp_path)
    config = {"eos_token_id": 4, "pad_token_id": 7, "bos_token_id": 5}
    write_settings(tmp_path, config=config)
    tokenizer = load_tokenizer(tmp_path)
    assert (tokenizer.eos_id, tokenizer.pad_id) == (4, 7)
    assert tokenizer.special_ids == {0, 1, 2, 3, 4, 5}
    assert tokenizer.decode([4, 7, 5]) == tokenizer.decode([7]) != ""


def test_padding_with_the_beginning_that_the_folder_tells(tmp_path: Path) -> None:
    llama_model(tmp_path / "tokenizer.model", bos_id=-1, eos_id=1)
    piece = load_tokenizer(tmp_path).encode_continuation("=")
    write_settings(tmp_path, config={"bos_token_id": piece[0]})
    assert load_tokenizer(tmp_path).pad_id == piece[0]


def test_model_without_end_of_sequence(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    llama_model(path, eos_id=-1)
    with pytest.raises(ConfigError) as error:
        load_tokenizer(path)
    assert str(error.value) == (
        f"the tokenizer {path} has no end-of-sequence token: train it with an eos_id"
    )
    write_settings(tmp_path, config={"eos_token_id": 1})
    assert load_tokenizer(tmp_path).eos_id == 1


def test_json_without_end_of_sequence(tmp_path: Path, files: dict[str, Path]) -> None:
    path = tmp_path / "tokenizer.json"
    spec = json.loads(files["galactica"].read_text())
    spec["added_tokens"] = [t for t in spec["added_tokens"] if t["content"] != "</s>"]
    path.write_text(json.dumps(spec))
    with pytest.raises(ConfigError) as error:
        load_tokenizer(path)
    assert str(error.value) == (
        f"the tokenizer {path} has no end-of-sequence token: its added_tokens hold none of "
        "</s>, <|endoftext|>, <|end_of_text|>, <eos>, [EOS]"
    )
