"""A model's weights as rectangles."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from reft_megatron.config import ModelConfig, ParallelConfig
from reft_megatron.mesh import Mesh
from reft_megatron.policy.families import find_architecture
from reft_megatron.policy.huggingface.mapping import weights
from reft_megatron.policy.model import build_chunks
from reft_megatron.policy.slices import slices

CODELLAMA = replace(find_architecture("codellama-7b"), layers=2, hidden=16, ffn=8, vocab=40)
MODELS = {
    "galactica": find_architecture("galactica-tiny"),
    "codellama": replace(
        CODELLAMA, attention=replace(CODELLAMA.attention, heads=4, groups=2, size=4)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_of_the_model_is_covered_once(alone: Mesh, name: str):
    architecture = MODELS[name]
    (chunk,) = build_chunks(
        architecture, ModelConfig(), ParallelConfig(), mesh=alone, vocab_size=40
    )
    wanted = {(w.key, w.layer): w.shape for w in weights(architecture, vocab=40, head="value")}
    rows: dict[tuple[str, int | None], int] = {}
    for part in slices(chunk):
        place = (part.key, part.layer)
        assert part.begin[0] == rows.get(place, 0), "rectangles of a weight come in order"
        assert part.shape[1:] == wanted[place][1:]
        rows[place] = rows.get(place, 0) + len(part.data)
    padded = {place: 128 if shape[0] == 40 else shape[0] for place, shape in wanted.items()}
    assert rows == padded


def test_writing_to_a_rectangle_changes_the_model(alone: Mesh):
    (chunk,) = build_chunks(
        MODELS["codellama"], ModelConfig(), ParallelConfig(), mesh=alone, vocab_size=40
    )
    halves = [s for s in slices(chunk) if s.key.endswith("fc1.weight") and s.layer == 1]
    with torch.no_grad():
        for number, half in enumerate(halves):
            half.data.fill_(number)
    both = chunk.decoder.layers[1].mlp.linear_fc1.weight
    assert both[:8].eq(0).all()
    assert both[8:].eq(1).all()
