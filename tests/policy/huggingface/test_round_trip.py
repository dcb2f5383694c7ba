"""Hugging Face -> this model at any layout -> a checkpoint -> Hugging Face: no bit changes.

Random models, each with weights of its own, over five layouts: sixty, or two hundred.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from reft_megatron.policy import Policy, join
from reft_megatron.policy.families import (
    Architecture,
    Attention,
    Norm,
    Rope,
    family_of,
)
from reft_megatron.policy.huggingface import to_checkpoint, to_huggingface
from reft_megatron.policy.huggingface.mapping import HEAD_NAMES, weights
from tests.policy.scene import LAYOUTS, TOKENIZER, Layout, configure
from tests.thorough import choose
from tools.random_checkpoint import word_tokenizer

CASES = choose(12, 40)
"""Models a layout, of which there are five."""
NAMES = ("1", "tp2", "pp2", "tp2-pp2", "pp2-vpp2")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model to convert."""

    architecture: Architecture
    head: str
    dtype: str
    seed: int


def draw(seed: int, layout: Layout) -> Case:
    """A random model that the layout divides."""
    rng = np.random.default_rng([seed, layout.tensor, layout.pipeline, layout.virtual])
    kind = str(rng.choice(["opt", "llama", "qwen2", "qwen3", "mistral"]))
    groups = layout.tensor * int(rng.integers(1, 3))
    heads = groups if kind == "opt" else groups * int(rng.integers(1, 4))
    size = 2 * int(rng.integers(1, 5))
    bias = bool(rng.integers(2)) if kind in ("opt", "llama") else False
    architecture = Architecture(
        name=kind,
        model_type=kind,
        layers=layout.pipeline * layout.virtual * int(rng.integers(1, 3)),
        hidden=heads * size if kind == "opt" else 2 * int(rng.integers(2, 13)),
        ffn=layout.tensor * int(rng.integers(1, 20)),
        positions=int(rng.integers(8, 40)),
        position_offset=2 if kind == "opt" else 0,
        vocab=int(rng.integers(TOKENIZER.vocab_size, 140)),
        activation=str(rng.choice(["gelu", "relu"])) if kind == "opt" else "swiglu",
        bias=bias,
        tied=bool(rng.integers(2)),
        init_std=0.02,
        attention=Attention(
            heads=heads,
            groups=groups,
            size=size,
            qkv_bias=bias or kind == "qwen2",
            qk_norm=kind == "qwen3",
            rope=None if kind == "opt" else Rope(theta=1e4),
        ),
        norm=Norm(
            kind="layer" if kind == "opt" else "rms",
            eps=1e-5,
            affine=kind != "opt" or bool(rng.integers(2)),
        ),
    )
    head = str(rng.choice(["value", "rerank", "none"]))
    return Case(
        architecture=architecture, head=head, dtype=str(rng.choice(list(DTYPES))), seed=seed
    )


def write_folder(case: Case, folder: Path) -> None:
    """The case's model as Hugging Face would save it, with random bits that are finite numbers."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(case.seed)
    every = weights(case.architecture, vocab=case.architecture.vocab, head=case.head)
    tensors = {
        name: torch.randn(shape, generator=generator).to(DTYPES[case.dtype])
        for weight in every
        for name, shape in weight.sources.items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    family = family_of(case.architecture)
    tree = {
        **family.write(case.architecture, case.architecture.vocab),
        "model_type": case.architecture.model_type,
        "torch_dtype": case.dtype,
    }
    (folder / "config.json").write_text(json.dumps(tree))
    (folder / "tokenizer.json").write_text(WORDS)


WORDS = word_tokenizer(TOKENIZER.vocab_size)


def differences(source: Path, result: Path) -> list[str]:
    """Tensors that are not the same in both folders; a head that was drawn does not count.

    Policies hold a head in fp32, and it is exported as it is stored: there the numbers count.
    """
    before = load_file(source / "model.safetensors")
    after = load_file(result / "model.safetensors")
    heads = {name for names in HEAD_NAMES.values() for name in names.values()}
    wrong = sorted(after.keys() - before.keys() - heads)
    for name, tensor in before.items():
        found = after.get(name)
        held = found is not None and name in heads and found.dtype == torch.float32
        wanted = tensor.float() if held else tensor
        same = found is not None and found.dtype == wanted.dtype and torch.equal(found, wanted)
        wrong += [] if same else [name]
    return wrong


def play_round_trips(layout: Layout, folder: Path, first: int) -> list[Any]:
    """Cases and their differences, through the model and through the converter.

    The converter knows no layout: several processes convert every fifth case.
    """
    wrong: list[Any] = []
    mesh = join(configure(layout).parallel, seed=0, timeout_s=300, threads=1)
    for seed in range(first, first + CASES):
        case = draw(seed, layout)
        source = folder / "hf"
        if mesh.main:
            shutil.rmtree(folder, ignore_errors=True)
            write_folder(case, source)
        mesh.world.barrier()
        head = "rerank" if case.head == "rerank" else "value"
        config = configure(layout, f"model.hf={source}", f"model.head={head}")
        Policy(config, mesh, TOKENIZER, total_steps=None).save(folder / "saved", extra={})
        to_huggingface(folder / "saved", folder / "out", world=mesh.world)
        results = [folder / "out"]
        if mesh.world.size == 1 or seed % 5 == 0:
            to_checkpoint(source, folder / "converted", world=mesh.world)
            to_huggingface(folder / "converted", folder / "back", world=mesh.world)
            results.append(folder / "back")
        if mesh.main:
            found = [differences(source, result) for result in results]
            wrong += [(case, found)] if any(found) else []
    return wrong


@pytest.mark.megatron
@pytest.mark.parametrize("name", NAMES)
def test_models_come_back_bit_for_bit(ranks, tmp_path: Path, name: str):
    layout = LAYOUTS[name]
    first = NAMES.index(name) * CASES
    for wrong in ranks(layout.world, play_round_trips, layout, tmp_path / "work", first):
        assert wrong == []
