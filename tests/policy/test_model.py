"""The network: OPT with a value head inside, the same at every layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from reft_megatron.config import ParallelConfig
from reft_megatron.errors import ConfigError
from reft_megatron.policy.families import find_architecture
from reft_megatron.policy.model import check_layout
from tests.policy.plain import Plain
from tests.policy.scene import (
    LAYOUTS,
    VOCAB,
    Layout,
    assemble,
    distance,
    gradients_of,
    make_batches,
    make_rollouts,
    open_policy,
)

TINY = find_architecture("galactica-tiny")


def sequences() -> list[torch.Tensor]:
    both = [(r.completion.prompt_ids, r.completion.token_ids) for r in make_rollouts()]
    return [torch.from_numpy(np.concatenate(pair)).long() for pair in both]


def test_logprobs_values_and_entropies_are_those_of_plain_torch(still, weights, fields):
    plain = Plain(weights)
    found = still.score(make_batches(still, fields))
    for i, tokens in enumerate(sequences()):
        for name, wanted in plain.scores(tokens).items():
            # Nothing is said about a sequence's first token.
            torch.testing.assert_close(found[name][i][1:], wanted[1:], rtol=1e-5, atol=1e-5)


def value_loss(outputs: Any, fields: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    values = torch.where(fields["mask"], outputs["values"], 0.0)
    return (values * fields["advantages"]).sum(), {}


def play_value_gradients(layout: Layout, fields: Any) -> list[Any]:
    policy = open_policy(layout, "parallel.distributed_optimizer=false")
    policy.update(make_batches(policy, fields), loss=value_loss)
    return gradients_of(policy)


@pytest.mark.megatron
@pytest.mark.parametrize("name", ["1", "tp2", "tp2-pp2"])
def test_the_value_heads_gradient_reaches_the_trunk(ranks, weights, fields, name: str):
    plain = Plain(weights)
    loss = torch.zeros(())
    for rollout, tokens in zip(make_rollouts(), sequences(), strict=True):
        own = fields[rollout.completion.problem_id]
        inside = {
            "mask": torch.arange(len(tokens)) >= len(rollout.completion.prompt_ids),
            "advantages": torch.from_numpy(own["advantages"]),
        }
        loss = loss + value_loss(plain.scores(tokens), inside)[0]
    loss.backward()
    layout = LAYOUTS[name]
    found = assemble(ranks(layout.world, play_value_gradients, layout, fields))
    far = {}
    for key, tensor in plain.weights.items():
        assert tensor.grad.any(), f"the value reaches {key}"
        far[key] = distance(found[key], tensor.grad.numpy())
    assert max(far.values()) < 1e-5, far


def test_the_output_projection_is_the_embedding(still):
    (chunk,) = still._chunks
    assert chunk.vocabulary_weight() is chunk.embedding.word_embeddings.weight
    assert chunk.vocabulary_weight().shape == (100, 96)


@torch.no_grad()
def test_next_logits_are_those_after_the_tokens_asked_for(still, weights):
    (chunk,) = still._chunks
    hidden = torch.randn(7, 1, 96, generator=torch.Generator().manual_seed(0))
    after = torch.tensor([6, 0, 3, 3])
    logits = chunk.next_logits(hidden, after)
    embedding = torch.from_numpy(weights["embedding.word_embeddings.weight"])
    wanted = hidden[[6, 0, 3, 3], 0] @ embedding.t()
    torch.testing.assert_close(logits[:, :VOCAB], wanted)
    assert (logits[:, VOCAB:] == -torch.inf).all()


@pytest.mark.parametrize(
    ("parallel", "message"),
    [
        (
            ParallelConfig(tensor=3),
            "galactica-tiny has 4 attention heads, which parallel.tensor = 3 does not divide. "
            "Choose a layout whose parallel.tensor divides 4.",
        ),
        (
            ParallelConfig(pipeline=8),
            "galactica-tiny has 4 layers, fewer than parallel.pipeline = 8. Choose a layout of at "
            "most 4 pipeline stages.",
        ),
    ],
)
def test_layouts_that_do_not_fit_the_model_are_refused(parallel, message: str):
    with pytest.raises(ConfigError) as caught:
        check_layout(TINY, parallel)
    assert str(caught.value) == message


def play_refusal() -> str:
    try:
        open_policy(Layout(world=3, tensor=3))
    except ConfigError as error:
        return str(error)
    return "not refused"


@pytest.mark.megatron
def test_every_rank_refuses(ranks):
    message = (
        "galactica-tiny has 4 attention heads, which parallel.tensor = 3 does not divide. "
        "Choose a layout whose parallel.tensor divides 4."
    )
    assert ranks(3, play_refusal) == [message] * 3
