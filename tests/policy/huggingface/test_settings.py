"""What stands beside the weights of a folder that is written."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from reft_megatron.errors import CheckpointError
from reft_megatron.policy.families import find_architecture
from reft_megatron.policy.huggingface.settings import choose_dtypes, settings_files

GALACTICA = replace(find_architecture("galactica-125m"), vocab=50_000)
TREE = {
    "architectures": ["OPTForCausalLM"],
    "model_type": "opt",
    "torch_dtype": "float16",
    "vocab_size": 50_000,
    "eos_token_id": None,
    "task_specific_params": {"kept": 1},
}
FILE = json.dumps(TREE, indent=4).encode()
TOKENS = {"eos_token_id": 2, "pad_token_id": 1}


def settings(head: str, dtype: torch.dtype = torch.float16, file: bytes | None = FILE) -> bytes:
    travelling = {"config.json": file} if file is not None else {}
    found = settings_files(GALACTICA, travelling, head=head, dtype=dtype, tokens=TOKENS)
    assert found.keys() == {"config.json"}, "there is no tokenizer to tell of"
    return found["config.json"]


def test_a_file_that_still_tells_the_truth_travels_byte_for_byte():
    assert settings("value") == settings("none") == FILE


def test_what_changed_is_written_and_nothing_else():
    tree = json.loads(settings("value", torch.bfloat16))
    assert tree == {**TREE, "torch_dtype": "bfloat16"}
    tree = json.loads(settings("rerank"))
    assert tree.pop("id2label") == {"0": "LABEL_0", "1": "LABEL_1"}
    assert tree.pop("label2id") == {"LABEL_0": 0, "LABEL_1": 1}
    assert tree == {
        **TREE,
        "architectures": ["OPTForSequenceClassification"],
        "eos_token_id": 2,
        "pad_token_id": 1,
    }


def test_a_model_that_never_had_a_file_gets_its_familys():
    tree = json.loads(settings("value", torch.float32, None))
    assert tree["architectures"] == ["OPTForCausalLM"]
    assert tree["torch_dtype"] == "float32"
    assert (tree["hidden_size"], tree["eos_token_id"], tree["pad_token_id"]) == (768, 2, 1)


@pytest.mark.parametrize(
    ("asked", "file", "wanted"),
    [
        ("auto", FILE, torch.float16),
        ("auto", b'{"dtype": "bfloat16"}', torch.bfloat16),
        ("auto", b"{}", torch.float32),
        ("stored", FILE, torch.float32),
        ("bf16", FILE, torch.bfloat16),
    ],
)
def test_the_dtype_is_the_asked_one(asked: str, file: bytes, wanted: torch.dtype):
    stored = {"decoder.final_layernorm.weight": torch.float32}
    found = choose_dtypes(asked, {"config.json": file}, stored)
    assert found == {"decoder.final_layernorm.weight": wanted}


@pytest.mark.parametrize("head", ["value_head.weight", "value_head.bias", "rerank_head.weight"])
def test_a_head_is_rounded_only_if_asked(head: str):
    travelling = {"config.json": b'{"torch_dtype": "bfloat16"}'}
    assert choose_dtypes("auto", travelling, {head: torch.float32}) == {head: torch.float32}
    assert choose_dtypes("bf16", travelling, {head: torch.float32}) == {head: torch.bfloat16}


def test_an_unknown_dtype_is_refused():
    with pytest.raises(CheckpointError, match=r"'int8' is unknown; wanted one of auto, stored, fp"):
        choose_dtypes("int8", {}, {})
    with pytest.raises(CheckpointError, match=r"says dtype 'float64'.*one of stored, fp32, bf16,"):
        choose_dtypes("auto", {"config.json": b'{"dtype": "float64"}'}, {})


def test_a_damaged_file_is_an_error():
    with pytest.raises(CheckpointError, match="is not valid"):
        settings("value", file=b"{")
