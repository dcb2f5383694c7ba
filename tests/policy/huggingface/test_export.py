"""From a run to a Hugging Face folder: what transformers makes of what `Policy.save` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from reft_megatron.mesh import Axis, Mesh
from reft_megatron.policy import Policy, tokenizer_path
from reft_megatron.policy.huggingface import to_huggingface
from reft_megatron.tokenizer import Tokenizer, load_tokenizer
from reft_megatron.tokenizer_training import train_tokenizer
from tests.policy.scene import ONE, configure
from tools.random_checkpoint import word_tokenizer

TEXT = "7 zebras run far"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokenizers: one of sentencepiece, which splits digits, and one of words."""
    folder = tmp_path_factory.mktemp("tokenizers")
    texts = [f"{number} zebras run far\\n" for number in range(100)]
    train_tokenizer(texts, folder / "spm.model", vocab_size=300)
    (folder / "words.json").write_text(word_tokenizer(300))
    return folder


def export(mesh: Mesh, folder: Path, *overrides: str) -> tuple[Path, Tokenizer]:
    """A fresh model of a preset, saved and exported."""
    config = configure(ONE, *overrides)
    tokenizer = load_tokenizer(tokenizer_path(config))
    Policy(config, mesh, tokenizer, total_steps=None).save(folder / "ckpt", extra={})
    to_huggingface(folder / "ckpt", folder / "out", world=Axis())
    return folder / "out", tokenizer


@pytest.mark.parametrize("name", ["spm.model", "words.json"])
def test_a_run_from_a_preset_brings_its_tokenizer(alone, files, tmp_path, name: str):
    out, ours = export(alone, tmp_path, f"tokenizer.path={files / name}")
    theirs: Any = transformers.AutoTokenizer.from_pretrained(out)
    text = TEXT if name == "spm.model" else "w7 w8 w299"
    ids = theirs(text, add_special_tokens=False)["input_ids"]
    assert ids == ours.encode(text)
    assert theirs.decode(ids) == text
    assert (theirs.eos_token_id, theirs.pad_token_id) == (ours.eos_id, ours.pad_id)
    again = load_tokenizer(out)
    assert (again.eos_id, again.pad_id) == (ours.eos_id, ours.pad_id), "the files agree"
    model = transformers.AutoModelForCausalLM.from_pretrained(out)
    assert (model.config.eos_token_id, model.config.pad_token_id) == (ours.eos_id, ours.pad_id)


def test_a_classifier_of_a_run_knows_its_padding(alone, files, tmp_path):
    path = files / "words.json"
    out, ours = export(alone, tmp_path, "model.head=rerank", f"tokenizer.path={path}")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(out).eval()
    # transformers has a padding of its own for OPT, which may be the same by chance.
    assert json.loads((out / "config.json").read_text())["pad_token_id"] == ours.pad_id
    text = ours.encode("w7 w8 w9")
    with torch.no_grad():
        bare, padded = (
            model(input_ids=torch.tensor([text + [ours.pad_id] * count])).logits for count in (0, 3)
        )
    # Positions and attention are those of the real tokens either way.
    torch.testing.assert_close(bare, padded)


def test_a_new_tokenizer_brings_its_ids(alone, files, tmp_path):
    first, _ = export(alone, tmp_path / "first", f"tokenizer.path={files / 'spm.model'}")
    tree = json.loads((first / "config.json").read_text())
    (first / "config.json").write_text(json.dumps({**tree, "bos_token_id": 7, "eos_token_id": 9}))
    (first / "tokenizer_config.json").unlink()
    second, ours = export(
        alone,
        tmp_path / "second",
        f"model.hf={first}",
        "model.preset=",
        f"tokenizer.path={files / 'words.json'}",
    )
    config = transformers.AutoConfig.from_pretrained(second)
    assert (config.bos_token_id, config.eos_token_id) == (None, ours.eos_id)
    theirs = transformers.AutoTokenizer.from_pretrained(second)
    assert theirs("w7 w8", add_special_tokens=False)["input_ids"] == ours.encode("w7 w8")
