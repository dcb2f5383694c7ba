"""Tokenizers of every kind, trained on programs and on prose."""

from __future__ import annotations

import io
import json
from pathlib import Path

import sentencepiece
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from reft_megatron.tasks import arithmetic
from reft_megatron.tasks.prompts import supervised_text
from reft_megatron.tokenizer_training import train_tokenizer

PROBLEMS = arithmetic.problems("train", count=60, seed=0)
PROGRAMS = ["".join(supervised_text(problem, "program")) for problem in PROBLEMS]
LICENSE = (Path(__file__).parents[2] / "LICENSE").read_text("utf-8")
PROSE = [paragraph.strip() for paragraph in LICENSE.split("\n\n")]
TEXTS = [*PROGRAMS, *PROSE]
WANTED = (
    "set tokenizer.path to a sentencepiece .model, a Hugging Face tokenizer.json, "
    "or a folder that holds one"
)


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
        vocab_size=1000,
        show_progress=False,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "[START_REF]", "[END_REF]"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.save(str(path))


def prepend_json(path: Path) -> None:
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
    _train_json(tokenizer, path)


def metaspace_json(path: Path, *, scheme: str = "first") -> None:
    """The newer way to write the same; with `always`, every line begins with a space."""
    tokenizer = tokenizers.Tokenizer(models.BPE(byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Metaspace(prepend_scheme=scheme, split=False),
            decoders.ByteFallback(),
            decoders.Fuse(),
        ]
    )
    _train_json(tokenizer, path)


def _train_json(tokenizer: tokenizers.Tokenizer, path: Path) -> None:
    special = ["<unk>", "<s>", "</s>"]
    byte_pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=1000, show_progress=False, special_tokens=special + byte_pieces
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    spec = json.loads(tokenizer.to_str())
    # The trainer can only reserve ids for special tokens; bytes are plain pieces in real files.
    spec["added_tokens"] = [t for t in spec["added_tokens"] if t["content"] in special]
    path.write_text(json.dumps(spec))


def llama_model(path: Path, **settings: object) -> None:
    """Like CodeLlama's model: `<s>` is 1, there is no padding, and a space comes first."""
    model = io.BytesIO()
    lines = (line for text in TEXTS for line in text.splitlines())
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_writer=model,
        model_type="bpe",
        vocab_size=1000,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
        **settings,
    )
    path.write_bytes(model.getvalue())


def ours_model(path: Path) -> None:
    """Of this project's own making."""
    train_tokenizer(TEXTS, path, vocab_size=1000, whole_numbers=100)


MAKERS = {
    "ours": ours_model,
    "galactica": galactica_json,
    "llama model": llama_model,
    "prepend json": prepend_json,
    "metaspace json": metaspace_json,
}
KINDS = list(MAKERS)


def galactica_folder(folder: Path) -> Path:
    """A folder as Galactica's, whose special tokens stand in config.json alone."""
    folder.mkdir(exist_ok=True)
    galactica_json(folder / "tokenizer.json")
    return write_settings(
        folder,
        config={"model_type": "opt", "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2},
        special_tokens_map={},
        tokenizer_config={"tokenizer_class": "PreTrainedTokenizerFast"},
    )


def llama_folder(folder: Path) -> Path:
    """A folder as CodeLlama's, with the sentencepiece model."""
    folder.mkdir(exist_ok=True)
    llama_model(folder / "tokenizer.model")
    return write_settings(
        folder,
        config={"model_type": "llama", "bos_token_id": 1, "eos_token_id": 2},
        tokenizer_config={
            "tokenizer_class": "LlamaTokenizer",
            "bos_token": {"__type": "AddedToken", "content": "<s>", "lstrip": False},
            "eos_token": {"__type": "AddedToken", "content": "</s>", "lstrip": False},
            "unk_token": {"__type": "AddedToken", "content": "<unk>", "lstrip": False},
        },
    )


def write_settings(folder: Path, **files: object) -> Path:
    """Write each of `files` as a JSON file of that name."""
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder
