"""Our models against transformers': logits, values, scores and greedy completions, at each layout.

One world of ranks a layout plays all architectures. The bounds are absolute, in fp32.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reft_megatron.ops.sampling import Sampling
from reft_megatron.policy import Policy, join
from reft_megatron.policy.model import Head, PolicyModel
from reft_megatron.policy.schedule import run_schedule
from reft_megatron.rollouts.batch import MicroBatch, common_shape, lay_out, pick
from reft_megatron.rollouts.packing import pack
from reft_megatron.types import Completion
from tests.policy.huggingface.zoo import (
    LANGUAGE,
    NAMES,
    NEW,
    RERANK,
    Said,
    build,
    prompts,
    read_said,
    sequences,
    tokenizer_of,
)
from tests.policy.scene import PAD, Layout, configure
from tests.thorough import choose

EACH_KIND = ("galactica", "llama 3", "codellama", "qwen2 window", "qwen3", "mistral")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the zoo is played."""

    layout: Layout
    sequence: bool = False
    """Sequence parallelism."""
    generating: tuple[str, ...] = ("qwen3",)
    """Models that generate, which takes nearly all the time. Generation itself splits no sequence:
    sequence parallelism, on or off, must only not be in its way. test_generation has more."""


PLACES = {
    "1": Place(layout=Layout(world=1), generating=tuple(LANGUAGE)),
    "tp2": Place(layout=Layout(world=2, tensor=2)),
    "tp2-sp": Place(layout=Layout(world=2, tensor=2), sequence=True, generating=EACH_KIND),
    "pp2": Place(layout=Layout(world=2, pipeline=2, layers="[3, 1]"), generating=EACH_KIND),
    "pp2-vpp2": Place(layout=Layout(world=2, pipeline=2, virtual=2)),
    "tp2-pp2": Place(layout=Layout(world=4, tensor=2, pipeline=2)),
    "tp2-pp2-sp": Place(layout=Layout(world=4, tensor=2, pipeline=2), sequence=True),
}
SOME_PLACES = ("1", "tp2", "tp2-sp", "pp2", "tp2-pp2-sp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one rank makes of one model."""

    far: dict[str, float]
    """Largest distance from what transformers says; empty before the last stage."""
    greedy: list[list[int]]
    """Greedy completion of each prompt."""


def play(place: Place, root: Path) -> dict[str, Found]:
    """Every model of the zoo on this rank."""
    common = (
        f"parallel.sequence={place.sequence}",
        f"generate.max_new_tokens={NEW}",
        "generate.slots=32",
    )
    mesh = join(configure(place.layout).parallel, seed=0, timeout_s=300, threads=1)
    found = {}
    for name in NAMES:
        head = "rerank" if name in RERANK else "value"
        config = configure(place.layout, *common, f"model.hf={root / name}", f"model.head={head}")
        policy = Policy(config, mesh, tokenizer_of(name), total_steps=None)
        far = (_far_scores if name in RERANK else _far_logits)(policy, name, read_said(root, name))
        done: list[Completion] = []
        if name in place.generating:
            greedy = Sampling(greedy=True)
            done = policy.generate(prompts(name), sampling=greedy)
        found[name] = Found(far=far, greedy=[text.token_ids.tolist() for text in done])
    return found


def _far_logits(policy: Policy, name: str, said: Said) -> dict[str, float]:
    far = {}
    for form in ("rectangle", "packed"):
        outputs = _apply(policy, _batches(policy, name, packed=form == "packed"))
        if outputs is not None:
            far[f"{form}, left"] = _distance(outputs[:, :-1], said.left)
            far[f"{form}, right"] = _distance(outputs[:, :-1], said.right)
            far[f"{form}, values"] = _distance(outputs[:, -1], said.values)
    return far


def _far_scores(policy: Policy, name: str, said: Said) -> dict[str, float]:
    far = {}
    for form in ("rectangle", "packed"):
        rows = policy.classify(_batches(policy, name, packed=form == "packed"))
        if rows:
            scores = torch.stack(rows).numpy()
            far[f"{form}, left"] = _distance(scores, said.left)
            far[f"{form}, right"] = _distance(scores, said.right)
    return far


def _batches(policy: Policy, name: str, *, packed: bool) -> list[MicroBatch]:
    tokens = sequences(name)
    lengths = [len(row) for row in tokens]
    stages, split = policy.mesh.pipeline.size, policy.mesh.tensor.size
    plan = pack(lengths, data_size=1, max_tokens=150, multiple_of=stages)
    shape = common_shape(plan, lengths, packed=packed, length_multiple=split)
    return [
        lay_out(batch, lengths, tokens=tokens, fields={}, pad_id=PAD, packed=packed, shape=shape)
        for batch in plan.data[0]
    ]


def _apply(policy: Policy, batches: list[MicroBatch]) -> np.ndarray[Any, Any] | None:
    """Logits and the value of every real token [tokens, V + 1]; None before the last stage."""

    def head(model: PolicyModel, hidden: Tensor) -> Tensor:
        return torch.cat([model.logits(hidden), model.values(hidden)[..., None]], dim=-1)

    def head_of(batch: MicroBatch) -> Head:
        return head

    outputs = run_schedule(policy._chunks, batches, policy.mesh, head_of=head_of, dropout=False)
    rows = {}
    for batch, output in zip(batches, outputs, strict=bool(outputs)):
        rows.update(zip(batch.indices, pick(batch, output), strict=True))
    return torch.cat([rows[i] for i in sorted(rows)]).numpy() if rows else None


def _distance(found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> float:
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max())


def bound(model: str, what: str) -> float:
    """How far apart `what` of that model may be."""
    if model in RERANK or what.endswith("values"):
        return 1e-5
    return 2e-5 if model.startswith(("opt", "galactica")) else 1e-4


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("zoo")


@pytest.fixture(scope="module")
def said(root: Path) -> dict[str, Said]:
    return build(root)


def test_the_zoo_is_worth_the_comparison(said):
    for name in LANGUAGE:
        words = said[name]
        assert words.gap > 2 * bound(name, "logits"), f"rounding would choose in {name}"
        assert np.mean([len(set(row)) for row in words.greedy]) > 10, f"{name} goes in circles"
        assert len({tuple(row) for row in words.greedy}) >= 30, f"{name} is deaf to its prompts"
    lengths = [len(row) for name in LANGUAGE for row in said[name].greedy]
    assert 50 < sum(length < NEW for length in lengths) < len(lengths) / 2


@pytest.mark.megatron
@pytest.mark.parametrize("name", choose(SOME_PLACES, PLACES))
def test_logits_values_scores_and_greedy_completions_are_transformers(ranks, root, said, name):
    place = PLACES[name]
    seen = ranks(place.layout.world, play, place, root)
    complaints = []
    for model in NAMES:
        told = [rank[model].far for rank in seen if rank[model].far]
        # All tensor ranks of the last stage tell.
        assert len(told) == place.layout.tensor
        far = {key: max(rank[key] for rank in told) for key in told[0]}
        print(f"\n{name:10} {model:18}", ", ".join(f"{key} {x:.1e}" for key, x in far.items()))
        for key, distance in far.items():
            if not distance < bound(model, key):
                complaints.append(f"{model}: {key} {distance:.1e}, over {bound(model, key)}")
        wanted = said[model].greedy if model in place.generating else []
        if any(rank[model].greedy != wanted for rank in seen):
            complaints.append(f"{model}: other completions")
    assert not complaints, "\n".join(complaints)
