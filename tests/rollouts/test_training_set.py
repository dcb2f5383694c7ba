"""A real policy learns from the views as it does from sequences laid out by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pytest
import torch

from reft_megatron.errors import ConfigError
from reft_megatron.learner.losses import supervised_loss
from reft_megatron.mesh import Mesh
from reft_megatron.policy import Policy
from reft_megatron.rollouts.batch import MicroBatch, lay_out, pick
from reft_megatron.rollouts.schema import to_table
from reft_megatron.rollouts.views import correct, labelled
from reft_megatron.types import Reason, Rollout, Verdict
from tests.policy.scene import LAYOUTS, PAD, Layout, open_policy
from tests.ranks import Ranks
from tests.rollouts.scene import make_rollout

BUDGET = 64
RIGHT, WRONG = Verdict(reason=Reason.CORRECT), Verdict(reason=Reason.WRONG_VALUE)
ROLLOUTS = [
    make_rollout(number, 0, text=str(number), verdict=RIGHT if number % 3 else WRONG)
    for number in range(20)
]


def _source(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    yield from to_table(ROLLOUTS).select(columns).to_batches()


def _one(rollout: Rollout, policy: Policy, *, index: int = 0, term: float = 0) -> MicroBatch:
    """A micro-batch of one rollout, whose response tokens weigh `term` each."""
    completion = rollout.completion
    tokens = np.concatenate([completion.prompt_ids, completion.token_ids])
    batch = lay_out(
        [0],
        [len(tokens)],
        tokens=[tokens],
        fields={"weights": [term * (np.arange(len(tokens)) >= len(completion.prompt_ids))]},
        pad_id=PAD,
        packed=False,
        device=policy.mesh.device,
    )
    return dataclasses.replace(batch, indices=(index,))


def play_self_training(layout: Layout, packed: bool) -> tuple[float, float]:
    """Loss and gradient norm of one step on the right rollouts."""
    policy = open_policy(layout)
    with correct(_source, unique=True, memory_mb=0) as chosen:
        batches = chosen.micro_batches(
            range(len(chosen)),
            mesh=policy.mesh,
            pad_id=PAD,
            max_tokens=BUDGET,
            packed=packed,
            length_multiple=policy.mesh.tensor.size,
        )
        stats = policy.update(batches, loss=supervised_loss)
    return stats.loss, stats.grad_norm


def play_by_hand() -> tuple[float, float]:
    policy = open_policy(LAYOUTS["1"])
    right = [rollout for rollout in ROLLOUTS if rollout.verdict.correct]
    count = sum(len(rollout.completion.token_ids) for rollout in right)
    batches = [_one(rollout, policy, term=1 / count) for rollout in right]
    stats = policy.update(batches, loss=supervised_loss)
    return stats.loss, stats.grad_norm


@pytest.mark.megatron
@pytest.mark.parametrize("packed", [True, False])
def test_self_training_is_supervised_training_on_the_right_ones(ranks: Ranks, packed: bool) -> None:
    (wanted,) = ranks(1, play_by_hand)
    for name in ("1", "pp2-dp2"):
        layout = LAYOUTS[name]
        for seen in ranks(layout.world, play_self_training, layout, packed):
            # float32 sums in another order.
            assert seen == pytest.approx(wanted, rel=1e-5)


def play_reranking() -> tuple[float, float]:
    """The mean cross-entropy of a rerank head: from the view, and rollout by rollout."""
    policy = open_policy(LAYOUTS["1"], "model.head=rerank", total_steps=None)
    with labelled(_source, unique=True) as chosen:
        batches = chosen.micro_batches(
            range(len(chosen)), mesh=policy.mesh, pad_id=PAD, max_tokens=BUDGET, packed=True
        )
        scores = policy.classify(batches)
        loss = 0.0
        for batch in batches:
            fields = [pick(batch, batch.fields[name]) for name in ("weights", "labels")]
            for i, weights, labels in zip(batch.indices, *fields, strict=True):
                assert not weights[:-1].any()
                loss += weights[-1].item() * _cross_entropy(scores[i], int(labels[-1]))
    singles = [_one(rollout, policy, index=i) for i, rollout in enumerate(ROLLOUTS)]
    plain = policy.classify(singles)
    labels = [int(rollout.verdict.correct) for rollout in ROLLOUTS]
    losses = [_cross_entropy(*pair) for pair in zip(plain, labels, strict=True)]
    return loss, float(np.mean(losses))


def _cross_entropy(scores: torch.Tensor, label: int) -> float:
    return -scores.log_softmax(dim=0)[label].item()


@pytest.mark.megatron
def test_a_reranker_learns_the_label_at_the_last_token(ranks: Ranks) -> None:
    ((loss, by_hand),) = ranks(1, play_reranking)
    assert loss == pytest.approx(by_hand, rel=1e-5)  # float32 sums in another order


def test_a_part_of_the_set_is_a_batch_of_its_own() -> None:
    with correct(_source, unique=True) as chosen:
        part = [5, 2, 9]
        batches = chosen.micro_batches(
            part, mesh=Mesh.single(), pad_id=PAD, max_tokens=BUDGET, packed=True, length_multiple=8
        )
        rows = {
            i: (row.tolist(), weights.sum().item())
            for batch in batches
            for i, row, weights in zip(
                batch.indices,
                pick(batch, batch.tokens),
                pick(batch, batch.fields["weights"]),
                strict=True,
            )
        }
        assert [rows[i][0] for i in range(3)] == [chosen.tokens(i).tolist() for i in part]
        shares = chosen.responses[part] / chosen.responses[part].sum()
        assert [rows[i][1] for i in range(3)] == pytest.approx(shares.tolist(), rel=1e-5)
        assert {batch.positions.shape[1] % 8 for batch in batches} == {0}


def test_a_sequence_above_the_budget_is_refused() -> None:
    with (
        correct(_source, unique=True) as chosen,
        pytest.raises(ConfigError, match=r"and a micro-batch holds 3; raise optimizer\."),
    ):
        chosen.micro_batches([0], mesh=Mesh.single(), pad_id=PAD, max_tokens=3, packed=True)
