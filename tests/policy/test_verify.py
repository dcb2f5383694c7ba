"""Comparing with transformers: what agrees, what does not, and where it begins."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from reft_megatron.errors import ReftError
from reft_megatron.policy import join
from reft_megatron.policy.verify import Difference, Report, folder_head, verify
from tests.policy.huggingface.zoo import build, sequences, spoil
from tests.policy.scene import LAYOUTS, ONE, TOKENIZER, Layout, configure
from tests.thorough import choose

MODELS = ("qwen3", "llama rerank", "opt", "llama", "mistral whole")
PLACES = {"1": (5, 8), "tp2": (2, 3), "pp2-vpp2": (2, 3), "tp2-pp2": (2, 3)}
"""Layouts, and how many models and spoilt ones are compared there; loading them takes the time.
Sequence parallelism goes with tensor parallelism."""
SPOILT = {
    "model.layers.2": ("qwen3", "model.layers.2.self_attn.k_norm.weight"),
    "model.layers.3": ("llama rerank", "model.layers.3.mlp.down_proj.weight"),
    "v_head": ("llama", "v_head.summary.weight"),
    "model.decoder.layers.0": ("opt", "model.decoder.layers.0.fc1.bias"),
    "embeddings": ("qwen3", "model.embed_tokens.weight"),
    "model.norm": ("llama", "model.norm.weight"),
    "lm_head": ("llama", "lm_head.weight"),
    "score": ("llama rerank", "score.weight"),
}
"""The place to be named, and the tensor of a model that is changed for it."""


def compare(
    layout: Layout, hf: Path, ours: Path, prompts: Sequence[Any] = sequences("llama")
) -> Report:
    """The report on `ours` against transformers' `hf`, for this rank."""
    head = "rerank" if folder_head(hf) == "rerank" else "value"
    config = configure(layout, f"model.hf={ours}", f"model.head={head}")
    mesh = join(config.parallel, seed=0, timeout_s=300, threads=1)
    return verify(config, mesh, TOKENIZER, folder=hf, prompts=prompts, tolerance=1e-4)


def play(place: str, root: Path) -> tuple[dict[str, Report], dict[str, Report]]:
    """Reports on models as they are, and on spoilt ones."""
    layout, (models, spoilt) = LAYOUTS[place], PLACES[place]
    as_is = {name: compare(layout, root / name, root / name) for name in MODELS[:models]}
    changed = {
        where: compare(layout, root / name, root / where, sequences(name)[:3])
        for where, (name, _) in list(SPOILT.items())[:spoilt]
    }
    return as_is, changed


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole models by name, and spoilt ones by the place that is to blame."""
    folder = tmp_path_factory.mktemp("zoo")
    build(folder, MODELS)
    for where, (name, tensor) in SPOILT.items():
        spoil(folder / name, folder / where, tensor)
    return folder


@pytest.mark.megatron
@pytest.mark.parametrize("place", choose(("1", "pp2-vpp2", "tp2-pp2"), PLACES))
def test_whole_models_agree_and_spoilt_ones_are_found_out(ranks, root: Path, place: str):
    seen = ranks(LAYOUTS[place].world, play, place, root)
    as_is, spoilt = seen[0]
    assert all(other == (as_is, spoilt) for other in seen), "every rank knows"
    assert (len(as_is), len(spoilt)) == PLACES[place]
    for name, report in as_is.items():
        assert report.agrees
        assert report.places == ()
        assert len(report.prompts) == len(sequences(name))
        for found in report.prompts:
            assert list(found) == (["scores"] if "rerank" in name else ["logits", "values"])
            assert all(0 <= d.mean <= d.largest < 5e-5 for d in found.values())
    for where, report in spoilt.items():
        print(f"\n{place:8}", where, *(f"{name} {x:.1e}" for name, x in report.places))
        assert not report.agrees
        assert report.first == where


def play_refusals(root: Path, cases: Sequence[tuple[str, Any]]) -> list[str]:
    found = []
    for name, prompts in cases:
        try:
            compare(LAYOUTS["tp2"], root / name, root / name, prompts)
        except ReftError as error:
            found.append(str(error).replace(str(root), ""))
    return found


@pytest.mark.megatron
def test_what_cannot_be_compared_is_refused_by_every_rank(ranks, root: Path):
    wrapped = root / "wrapped"
    shutil.copytree(root / "llama", wrapped)
    tensors = load_file(wrapped / "model.safetensors")
    shutil.copytree(root / "llama", root / "half")
    half = {name: x for name, x in tensors.items() if name != "v_head.summary.bias"}
    save_file(half, root / "half" / "model.safetensors", metadata={"format": "pt"})
    tensors = {f"module.{name}": x for name, x in tensors.items() if "v_head" not in name}
    save_file(tensors, wrapped / "model.safetensors", metadata={"format": "pt"})
    cases = [
        ("llama", []),
        ("llama", [[5], []]),
        ("llama", [[5] * 97]),
        ("llama", [[5, 86]]),
        ("half", [[5]]),
        ("wrapped", [[5]]),
    ]
    told = ranks(2, play_refusals, root, cases)
    assert told[0] == told[1]
    assert told[0][:4] == [
        "there is nothing to compare: no prompt was given.",
        "prompt 2 has 0 tokens, and llama-4x32 takes 1 to 96.",
        "prompt 1 has 97 tokens, and llama-4x32 takes 1 to 96.",
        "prompt 1 has the token id 86, and llama-4x32 embeds 86. Use the tokenizer that belongs "
        "to the model.",
    ]
    assert told[0][4] == (
        "/half has a value head without v_head.summary.bias. Save the head whole, or leave all of "
        "it out."
    )
    assert told[0][5] == (
        "transformers does not find lm_head.weight, model.embed_tokens.weight, "
        "model.layers.0.input_layernorm.weight in /wrapped, and would draw them at random. Save "
        "the model with save_pretrained()."
    )


def play_without_transformers(root: Path) -> str:
    import sys

    sys.modules["transformers"] = None  # type: ignore[assignment]  # as if it were not installed
    try:
        compare(ONE, root / "llama", root / "llama", [[5]])
    except ReftError as error:
        return str(error)
    return "not refused"


def test_without_transformers_it_says_what_is_missing(ranks, root: Path):
    assert ranks(1, play_without_transformers, root) == [
        "transformers is what models are compared with, and it is not installed. "
        "Run `pip install transformers`."
    ]


def report(*differences: float, places: Sequence[float] = ()) -> Report:
    found = tuple({"logits": Difference(largest=x, mean=x)} for x in differences)
    named = tuple((f"layer {index}", x) for index, x in enumerate(places))
    return Report(prompts=found, tolerance=1e-4, places=named)


def test_a_difference_begins_where_it_jumps():
    assert report(1e-5, 9e-5).agrees
    assert not report(1e-5, 2e-4).agrees
    assert report(1e-5, 2e-4, 3e-5).worst == 1
    assert report(1e-5, torch.inf, 3e-5).worst == 1
    assert report(1, places=[0, 2e-7, 4e-6, 5e-6, 6e-5]).first == "layer 4"
    assert report(1, places=[0, 2e-7, 4e-6, 3e-2, 5e-1, 1]).first == "layer 3"
    assert report(1, places=[2e-3, 3e-3]).first == "layer 0"
    assert report(1, places=[0, 2e-6, 1e-5, 5e-5, 2e-4]).first == ""
