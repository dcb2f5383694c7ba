"""Gradients of a rotary model are transformers', however it is laid out.

Qwen3's norms of queries and keys are whole on every tensor rank, and each rank's heads give them
only a part of their gradient; its keys and values are shared by two queries each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from reft_megatron.policy import Policy, join
from reft_megatron.policy.families import read_architecture
from reft_megatron.policy.huggingface.mapping import weights
from reft_megatron.policy.slices import slices
from tests.policy.huggingface.zoo import build
from tests.policy.scene import (
    LAYOUTS,
    TOKENIZER,
    VOCAB,
    Layout,
    Part,
    assemble,
    configure,
    distance,
    make_batches,
    make_rollouts,
)

MODEL = "qwen3"
PLACES = {
    "1": (LAYOUTS["1"], False),
    "tp2": (LAYOUTS["tp2"], False),
    "tp2-sp": (LAYOUTS["tp2"], True),
    "pp2": (LAYOUTS["pp2"], False),
    "dp2": (LAYOUTS["dp2"], False),
}
"""Layouts, and whether sequence parallelism is on."""
Fields = dict[str, dict[str, np.ndarray[Any, Any]]]


def steer(outputs: Any, fields: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A loss that every log-prob and value of a response has a part in."""
    terms = fields["advantages"] * outputs["logprobs"] + fields["returns"] * outputs["values"]
    return torch.where(fields["mask"], fields["weights"] * terms, 0.0).sum(), {}


def play(layout: Layout, sequence: bool, root: Path, fields: Fields) -> list[Part]:
    """Gradients of one update on this rank."""
    settings = ("parallel.distributed_optimizer=false", f"parallel.sequence={sequence}")
    config = configure(layout, *settings, f"model.hf={root / MODEL}")
    mesh = join(config.parallel, seed=0, timeout_s=300, threads=1)
    policy = Policy(config, mesh, TOKENIZER, total_steps=8)
    assert policy.update(make_batches(policy, fields), loss=steer).applied
    found: list[Part] = []
    for chunk in policy._chunks:
        for parameter in chunk.parameters():
            parameter.data = parameter.main_grad
        for part in slices(chunk):
            shape = (VOCAB if "embeddings" in part.key else part.shape[0], *part.shape[1:])
            where = tuple(
                slice(min(begin, full), min(begin + size, full))
                for begin, size, full in zip(part.begin, part.data.shape, shape, strict=True)
            )
            real = part.data[tuple(slice(0, span.stop - span.start) for span in where)]
            found.append((f"{part.key}/{part.layer}", shape, where, real.detach().numpy().copy()))
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    build(folder, (MODEL,))
    return folder


@pytest.fixture(scope="module")
def theirs(root: Path, fields: Fields) -> dict[str, np.ndarray[Any, Any]]:
    """The gradients as transformers and torch have them, under Megatron's names."""
    folder = root / MODEL
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    stored = load_file(folder / "model.safetensors")
    head = {name: x.requires_grad_() for name, x in stored.items() if name.startswith("v_head")}
    scale, shift = head["v_head.summary.weight"], head["v_head.summary.bias"]
    loss = torch.zeros(())
    for rollout in make_rollouts():
        completion = rollout.completion
        tokens = np.concatenate([completion.prompt_ids, completion.token_ids])
        ids = torch.from_numpy(tokens).long()
        out = model(input_ids=ids[None], output_hidden_states=True)
        logprobs = out.logits[0, :-1].log_softmax(-1).gather(1, ids[1:, None])[:, 0]
        values = out.hidden_states[-1][0, :-1] @ scale[0] + shift
        own = {k: torch.from_numpy(x)[1:] for k, x in fields[completion.problem_id].items()}
        own["mask"] = torch.arange(1, len(tokens)) >= len(completion.prompt_ids)
        loss = loss + steer({"logprobs": logprobs, "values": values}, own)[0]
    loss.backward()
    gradients = {name: x.grad for name, x in [*model.named_parameters(), *head.items()]}
    return {
        f"{weight.key}/{weight.layer}": np.concatenate(
            [gradients[run.name][run.source : run.source + run.rows] for run in weight.runs]
        )
        for weight in weights(read_architecture(folder), vocab=VOCAB, head="value")
    }


@pytest.mark.megatron
@pytest.mark.parametrize("name", PLACES)
def test_gradients_are_transformers(ranks, root: Path, fields: Fields, theirs, *, name: str):
    layout, sequence = PLACES[name]
    found = assemble(ranks(layout.world, play, layout, sequence, root, fields))
    assert found.keys() == theirs.keys()
    far, where = max((distance(found[key], theirs[key]), key) for key in theirs)
    print(f"\n{name:8} gradients {far:.1e} ({where})")
    assert far < 1e-5
