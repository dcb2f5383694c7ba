"""What stands beside the weights in a folder that is written.

Owns config.json, of which a file that came with the model travels byte for byte unless dtype, head
or vocabulary are others now, and which a model that never had one gets from its family; and
tokenizer_config.json for a tokenizer that came without one, for which transformers would take one
of another kind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sentencepiece
import tokenizers
import torch
from sentencepiece import sentencepiece_model_pb2

from reft_megatron.errors import CheckpointError
from reft_megatron.policy.families import Architecture, family_of
from reft_megatron.policy.huggingface.mapping import HEAD_NAMES
from reft_megatron.policy.model import CLASSES

__all__ = ["DTYPES", "DTYPE_CHOICES", "choose_dtypes", "settings_files"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Dtypes of weights by their short names."""
DTYPE_CHOICES = ("auto", "stored", *DTYPES)
"""What can be asked for."""

_CONFIG, _TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
_CLASSIFIER = {
    "id2label": {str(number): f"LABEL_{number}" for number in range(CLASSES)},
    "label2id": {f"LABEL_{number}": number for number in range(CLASSES)},
}


def choose_dtypes(
    asked: str, travelling: Mapping[str, bytes], stored: Mapping[str, torch.dtype]
) -> dict[str, torch.dtype]:
    """The dtype to write each weight in, by Megatron's name, of those that are `stored`.

    `asked` is one of DTYPE_CHOICES: a key of DTYPES for all of them; `stored` keeps each; `auto`
    takes what the config.json that travels says, where it says anything, but keeps a head, which is
    trained in fp32. CheckpointError for another word, there or here.
    """
    if asked in DTYPES:
        return dict.fromkeys(stored, DTYPES[asked])
    if asked not in DTYPE_CHOICES:
        raise CheckpointError(
            f"the dtype {asked!r} is unknown; wanted one of {', '.join(DTYPE_CHOICES)}."
        )
    tree = _read(travelling) if asked == "auto" else {}
    said = tree.get("dtype") or tree.get("torch_dtype")
    if not said:
        return dict(stored)
    by_name = {str(dtype): dtype for dtype in DTYPES.values()}
    dtype = by_name.get("torch." + str(said).removeprefix("torch."))
    if dtype is None:
        raise CheckpointError(
            f"the config.json that came with the model says dtype {said!r}, which weights are not "
            f"written in. Ask for one of {', '.join(DTYPE_CHOICES[1:])}."
        )
    heads = {key for names in HEAD_NAMES.values() for key in names}
    return {key: kept if key in heads else dtype for key, kept in stored.items()}


def settings_files(
    architecture: Architecture,
    travelling: Mapping[str, bytes],
    *,
    head: str,
    dtype: torch.dtype,
    tokens: Mapping[str, int],
) -> dict[str, bytes]:
    """Every file beside the weights of a model with that head, saved in `dtype`, by name.

    `tokens` are `eos_token_id` and `pad_token_id`, for what no file says; a classifier looks for
    padding.
    """
    config = _write_config(architecture, travelling, head=head, dtype=dtype, tokens=tokens)
    files = {**travelling, _CONFIG: config}
    if _TOKENIZER_CONFIG not in files:
        tree = _describe_tokenizer(travelling, tokens)
        files |= {_TOKENIZER_CONFIG: json.dumps(tree, indent=2).encode()} if tree else {}
    return files


def _write_config(
    architecture: Architecture,
    travelling: Mapping[str, bytes],
    *,
    head: str,
    dtype: torch.dtype,
    tokens: Mapping[str, int],
) -> bytes:
    kind = "ForSequenceClassification" if head == "rerank" else "ForCausalLM"
    name = family_of(architecture).MODEL_TYPES[architecture.model_type] + kind
    tree = _read(travelling) or {
        **family_of(architecture).write(architecture, architecture.vocab),
        "model_type": architecture.model_type,
    }
    key = "dtype" if "dtype" in tree else "torch_dtype"
    wanted: dict[str, Any] = {
        "architectures": [name],
        key: str(dtype).removeprefix("torch."),
        "vocab_size": architecture.vocab,
        **(_CLASSIFIER if head == "rerank" else {}),
    }
    if _CONFIG not in travelling or head == "rerank":
        wanted |= {name: token for name, token in tokens.items() if tree.get(name) is None}
    if _CONFIG in travelling and all(tree.get(name) == value for name, value in wanted.items()):
        return travelling[_CONFIG]
    return (json.dumps({**tree, **wanted}, indent=2) + "\n").encode()


def _describe_tokenizer(
    travelling: Mapping[str, bytes], tokens: Mapping[str, int]
) -> dict[str, Any]:
    """What transformers must know of a lone tokenizer file; empty if there is none."""
    ids = {name.removesuffix("_id"): token for name, token in tokens.items()}
    if "tokenizer.json" in travelling:
        library = tokenizers.Tokenizer.from_str(travelling["tokenizer.json"].decode())
        names = {role: library.id_to_token(token) for role, token in ids.items()}
        return {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    if "tokenizer.model" not in travelling:
        return {}
    proto = sentencepiece_model_pb2.ModelProto.FromString(travelling["tokenizer.model"])
    model = sentencepiece.SentencePieceProcessor(model_proto=travelling["tokenizer.model"])
    ids |= {"bos_token": model.bos_id(), "unk_token": model.unk_id()}
    return {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": False,
        "add_prefix_space": proto.normalizer_spec.add_dummy_prefix,
        "legacy": False,
        **{role: model.id_to_piece(token) for role, token in ids.items() if token >= 0},
    }


def _read(travelling: Mapping[str, bytes]) -> dict[str, Any]:
    """The config.json that travels; empty if none does."""
    try:
        return dict(json.loads(travelling.get(_CONFIG, b"{}")))
    except ValueError as error:
        raise CheckpointError(f"the config.json in the checkpoint is not valid: {error}.") from None
