"""Tests that tokenizers of Hugging Face folders give transformers' ids."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reft_megatron.tasks.prompts import COT_TRIGGER, INSTRUCTION
from reft_megatron.tokenizer import Tokenizer, load_tokenizer
from tests.tokenizer.specimens import (
    PROSE,
    TEXTS,
    galactica_folder,
    llama_folder,
    prepend_json,
    write_settings,
)

LAYOUTS = ["galactica", "llama model", "llama json", "prepend json"]
ODD = [
    "",
    "1",
    "\n",
    "a\n\n  b",
    "\ta\r\n",
    "x  =  12345.678",
    "\u20ac5 caf\u00e9 \u4e2d\U0001f600",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One folder, opened twice."""

    ours: Tokenizer
    """By this project."""
    theirs: Any
    """By transformers."""

    def agree_on(self, texts: list[str]) -> None:
        expected = self.theirs(texts, add_special_tokens=False).input_ids
        for text, ids in zip(texts, expected, strict=True):
            assert self.ours.encode(text) == ids, text

    def agree_on_joined(self, questions: list[str], answers: list[str]) -> None:
        """A prompt and its answer, encoded here one by one and by transformers as one text."""
        prompts = [INSTRUCTION + question + COT_TRIGGER for question in questions]
        wholes = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
        expected = self.theirs(wholes, add_special_tokens=False).input_ids
        for prompt, answer, ids in zip(prompts, answers, expected, strict=True):
            continuation = self.ours.encode_continuation(answer)
            assert self.ours.encode(prompt) + continuation == ids, prompt
            assert self.ours.decode(continuation) == answer


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    from transformers import AutoTokenizer  # slow to import

    root = tmp_path_factory.mktemp("folders")
    folders = {layout: root / layout.replace(" ", "-") for layout in LAYOUTS}
    galactica_folder(folders["galactica"])
    llama_folder(folders["llama model"])
    AutoTokenizer.from_pretrained(folders["llama model"]).save_pretrained(folders["llama json"])
    folders["prepend json"].mkdir()
    prepend_json(folders["prepend json"] / "tokenizer.json")
    write_settings(
        folders["prepend json"], tokenizer_config={"tokenizer_class": "PreTrainedTokenizerFast"}
    )
    return {
        layout: Pair(ours=load_tokenizer(folder), theirs=AutoTokenizer.from_pretrained(folder))
        for layout, folder in folders.items()
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_ids_are_those_of_transformers(pairs: dict[str, Pair], layout: str) -> None:
    pairs[layout].agree_on([*TEXTS, *ODD])
    pairs[layout].agree_on_joined(PROSE, list(reversed(PROSE)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_special_tokens_are_those_of_transformers(pairs: dict[str, Pair], layout: str) -> None:
    pair = pairs[layout]
    assert pair.ours.vocab_size == len(pair.theirs)
    if pair.theirs.eos_token_id is not None:
        assert pair.ours.eos_id == pair.theirs.eos_token_id


@pytest.mark.slow
@pytest.mark.shared_data
@pytest.mark.parametrize("layout", ["galactica", "llama model", "llama json"])
def test_ids_on_all_of_gsm8k(pairs: dict[str, Pair], layout: str, shared_data: Path) -> None:
    lines = [
        json.loads(line)
        for name in ("train.jsonl", "test.jsonl")
        for line in (shared_data / "gsm8k" / name).read_text("utf-8").splitlines()
    ]
    questions, answers = ([line[key] for line in lines] for key in ("question", "answer"))
    assert len(lines) == 8792
    pairs[layout].agree_on(questions + answers)
    pairs[layout].agree_on_joined(questions[:2000], answers[:2000])
