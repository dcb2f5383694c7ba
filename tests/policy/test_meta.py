"""What a checkpoint says of itself, and what is made of it when it says something else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from reft_megatron.errors import CheckpointError
from reft_megatron.policy.families import find_architecture
from reft_megatron.policy.meta import architecture_in, describe, differing, identity, read_meta
from tests.policy.scene import EOS, PAD, TOKENIZER, VOCAB

TINY = find_architecture("galactica-tiny")


def test_a_description_is_read_back(tmp_path: Path):
    (tmp_path / "meta.json").write_text(json.dumps(describe(TINY, TOKENIZER, rows=VOCAB)))
    meta = read_meta(tmp_path)
    assert architecture_in(meta, tmp_path) == replace(TINY, vocab=VOCAB)
    assert (meta["eos_token_id"], meta["pad_token_id"]) == (EOS, PAD)
    assert (meta["vocab_size"], meta["tokenizer"]) == (VOCAB, TOKENIZER.fingerprint)


def test_a_model_without_a_name_is_called_after_its_folder(tmp_path: Path):
    meta = {"architecture": {**identity(TINY, rows=90), "name": ""}}
    assert architecture_in(meta, tmp_path / "warm").name == "warm"


def test_what_makes_another_model():
    one = identity(TINY, rows=90)
    assert differing(one, identity(replace(TINY, name="x", init_std=1.0), rows=90)) == []
    assert differing(one, identity(replace(TINY, layers=5), rows=91)) == ["layers", "vocab"]
    del one["tied"]
    # Either may know more than the other.
    assert differing({**one, "experts": 8}, {**one, "tied": True}) == ["experts", "tied"]


@pytest.mark.parametrize("text", [None, "", "{", "3", "[1]", "\udcff"])
def test_what_is_no_description_is_refused(tmp_path: Path, text: str | None):
    if text is not None:
        (tmp_path / "meta.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError) as caught:
        read_meta(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} says nothing of its model: it has no readable meta.json. Point at a folder "
        "written by a finished save."
    )


@pytest.mark.parametrize(
    "meta",
    [{}, {"architecture": None}, {"architecture": {"name": ""}}, {"architecture": [1]}],
)
def test_an_unknown_model_is_refused(tmp_path: Path, meta: dict[str, object]):
    with pytest.raises(CheckpointError, match=r"meta\.json describes no model that is known\.$"):
        architecture_in(meta, tmp_path)
