"""Tests of the tokenizer interface."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from reft_megatron.errors import ConfigError
from reft_megatron.tasks import arithmetic
from reft_megatron.tasks.prompts import prompt_text, supervised_text
from reft_megatron.tokenizer import Tokenizer, load_tokenizer
from reft_megatron.tokenizer_training import train_tokenizer

PROBLEMS = arithmetic.problems("train", count=60, seed=0)
TEXTS = ["".join(supervised_text(problem, "program")) for problem in PROBLEMS]
KINDS = ["ours", "galactica", "dummy prefix model", "dummy prefix json", "metaspace json"]
WANTED = "set tokenizer.path to a sentencepiece .model or a Hugging Face tokenizer.json"


def galactica_json(path: Path) -> None:
    """Byte-level BPE built like Galactica's: newlines and digits stand alone."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        show_progress=False,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "[START_REF]"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.save(str(path))


def dummy_prefix_json(path: Path) -> None:
    """Like the files of LLaMA: a normaliser prepends the space and a decoder strips it."""
    tokenizer = tokenizers.Tokenizer(models.BPE(byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\n", "isolated")
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    train_json(tokenizer, path)


def metaspace_json(path: Path) -> None:
    """The newer way to write the same."""
    tokenizer = tokenizers.Tokenizer(models.BPE(byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Metaspace(prepend_scheme="always", split=False),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Metaspace(prepend_scheme="always", split=False),
            decoders.ByteFallback(),
            decoders.Fuse(),
        ]
    )
    train_json(tokenizer, path)


def train_json(tokenizer: tokenizers.Tokenizer, path: Path) -> None:
    special = ["<unk>", "<s>", "</s>"]
    byte_pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=700, show_progress=False, special_tokens=special + byte_pieces
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    spec = json.loads(tokenizer.to_str())
    # The trainer can only reserve ids for special tokens; bytes are plain pieces in real files.
    spec["added_tokens"] = [t for t in spec["added_tokens"] if t["content"] in special]
    path.write_text(json.dumps(spec))


def dummy_prefix_model(path: Path, **settings: object) -> None:
    """Like CodeLlama's model: `<s>` is 1, there is no padding, and a space comes first."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_writer=model,
        model_type="bpe",
        vocab_size=500,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
        **settings,
    )
    path.write_bytes(model.getvalue())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tokenizers")
    paths = {kind: folder / kind.replace(" ", ".") for kind in KINDS}
    train_tokenizer(TEXTS, paths["ours"], vocab_size=600, whole_numbers=100)
    galactica_json(paths["galactica"])
    dummy_prefix_model(paths["dummy prefix model"])
    dummy_prefix_json(paths["dummy prefix json"])
    metaspace_json(paths["metaspace json"])
    return paths


@pytest.fixture(scope="module")
def loaded(files: dict[str, Path]) -> dict[str, Tokenizer]:
    return {kind: load_tokenizer(path) for kind, path in files.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_cut_between_prompt_and_answer_does_not_matter(
    loaded: dict[str, Tokenizer], kind: str
) -> None:
    encode = loaded[kind].encode
    for problem in PROBLEMS:
        prompt, answer = supervised_text(problem, "program")
        prefix = prompt_text(problem, "program", "correct")
        rest = (prompt + answer).removeprefix(prefix)
        assert prefix + rest == prompt + answer
        assert encode(prefix) + encode(rest) == encode(prompt) + encode(answer)
        assert encode(prefix) + encode(rest) == encode(prompt + answer)


def test_the_library_alone_breaks_the_cut(files: dict[str, Path]) -> None:
    """What the rule of dummy prefixes is for."""
    model = sentencepiece.SentencePieceProcessor(model_file=str(files["dummy prefix model"]))
    whole = tokenizers.Tokenizer.from_file(str(files["dummy prefix json"]))
    assert model.encode("a\n") + model.encode("def") != model.encode("a\ndef")
    assert whole.encode("a\n").ids + whole.encode("def").ids != whole.encode("a\ndef").ids


@pytest.mark.parametrize("kind", KINDS)
def test_decode_inverts_encode(loaded: dict[str, Tokenizer], kind: str) -> None:
    texts = [*TEXTS, "", " ", "  two  spaces  ", "\n\n", "\tx\r\n", "3 . 5 , n't", "</s><pad><s>"]
    for text in texts:
        assert loaded[kind].decode(loaded[kind].encode(text)) == text


@pytest.mark.parametrize("kind", ["ours", "galactica", "dummy prefix model"])
@settings(max_examples=150, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581")))
def test_decode_inverts_encode_on_any_text(
    loaded: dict[str, Tokenizer], kind: str, text: str
) -> None:
    ids = loaded[kind].encode(text)
    assert loaded[kind].decode(ids) == text
    assert not set(ids) & loaded[kind].special_ids


def test_the_space_mark_of_sentencepiece_reads_back_as_a_space(
    loaded: dict[str, Tokenizer],
) -> None:
    assert loaded["ours"].decode(loaded["ours"].encode("a\u2581b")) == "a b"


@pytest.mark.parametrize("kind", KINDS)
def test_decode_drops_special_tokens(loaded: dict[str, Tokenizer], kind: str) -> None:
    tokenizer = loaded[kind]
    ids = tokenizer.encode("return result")
    special = [tokenizer.pad_id, tokenizer.eos_id, *tokenizer.special_ids]
    assert tokenizer.decode([*special, *ids[:1], *special, *ids[1:], *special]) == "return result"
    assert tokenizer.decode(np.array([*ids, tokenizer.eos_id], dtype=np.int32)) == "return result"


def test_ids(loaded: dict[str, Tokenizer]) -> None:
    ids = {kind: (t.pad_id, t.eos_id, t.vocab_size) for kind, t in loaded.items()}
    assert ids == {
        "ours": (1, 2, 600),
        "galactica": (1, 2, 500),
        "dummy prefix model": (1, 2, 500),
        "dummy prefix json": (1, 2, 700),
        "metaspace json": (1, 2, 700),
    }
    assert loaded["ours"].special_ids == {0, 1, 2, 3}
    assert loaded["galactica"].special_ids == {0, 1, 2, 3, 4}
    assert loaded["dummy prefix model"].special_ids == {0, 1, 2}


def test_padding_falls_back_to_the_end_of_sequence(tmp_path: Path) -> None:
    path = tmp_path / "no_bos.model"
    dummy_prefix_model(path, bos_id=-1, eos_id=1)
    assert (load_tokenizer(path).pad_id, load_tokenizer(path).eos_id) == (1, 1)


def test_galactica_digits_and_newlines_stand_alone(loaded: dict[str, Tokenizer]) -> None:
    tokenizer = loaded["galactica"]
    pieces = [tokenizer.decode([i]) for i in tokenizer.encode("x = 1234\n\n")]
    assert pieces == ["x", " =", " ", "1", "2", "3", "4", "\n", "\n"]


def test_the_fingerprint_is_of_the_bytes(files: dict[str, Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy.json"
    copy.write_bytes(files["galactica"].read_bytes())
    assert load_tokenizer(copy).fingerprint == load_tokenizer(files["galactica"]).fingerprint
    copy.write_bytes(files["galactica"].read_bytes() + b"\n")
    assert load_tokenizer(copy).fingerprint != load_tokenizer(files["galactica"]).fingerprint


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "absent.model"
    with pytest.raises(ConfigError) as error:
        load_tokenizer(path)
    assert str(error.value) == (
        f"cannot read the tokenizer file {path}: No such file or directory; {WANTED}"
    )


def test_empty_setting() -> None:
    with pytest.raises(ConfigError) as error:
        load_tokenizer("")
    assert str(error.value) == f"no tokenizer: {WANTED}"


@pytest.mark.parametrize(
    "content", [b"", b"\x0a", b"hello", b"{", b"{}", b'{"added_tokens": 1}', b'{"model": null}']
)
def test_not_a_tokenizer(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        load_tokenizer(path)
    assert str(error.value) == f"{path} is not a tokenizer: {WANTED}"


def test_model_without_end_of_sequence(tmp_path: Path) -> None:
    path = tmp_path / "no_eos.model"
    dummy_prefix_model(path, eos_id=-1)
    with pytest.raises(ConfigError) as error:
        load_tokenizer(path)
    assert str(error.value) == (
        f"the tokenizer {path} has no end-of-sequence token: train it with an eos_id"
    )


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
