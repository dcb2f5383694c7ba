"""The losses, and the golden numbers of the whole chain from verdict to loss.

The reference indexes by state: its entry `t` is the state after token `t`, whose action is token
`t + 1`. Ours indexes by token: our entry `t` is about token `t`. So our entry `t` is the
reference's entry `t - 1` in every array (log-probs, values, rewards, advantages, mask), which is
what `about_tokens` does to the outputs of a model. The reference's last value, of the state after
the last token, is the one that falls off; it is masked there.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from reft_megatron.learner.advantage import gae, mean_and_variance, moments, whiten
from reft_megatron.learner.align import about_tokens
from reft_megatron.learner.losses import (
    classification_loss,
    halves_loss,
    ppo_loss,
    supervised_loss,
)
from reft_megatron.learner.reward import token_rewards
from reft_megatron.learner.weights import sequence_mean_weights

LOSS = functools.partial(ppo_loss, clip_range=0.2, value_coef=5.0)

NAN = math.nan
# Golden inputs, per position; a position after the last token predicts nothing (NaN).
OLD = [
    [-0.5, -0.4, -0.3, -0.2, -0.6, -0.1, -9, NAN],
    [-1, -1.1, -0.7, -0.9, -0.25, -0.35, -0.45, NAN],
]
REF = [
    [-0.5, -0.4, -0.5, -0.1, -0.7, -0.3, -9, NAN],
    [-1, -1.1, -0.6, -1.2, -0.25, -0.4, -0.3, NAN],
]
VALUES = [[0.9, 0.8, 0.3, 0.4, 0.5, 0.6, 0.7, 0.99], [0.1, 0.2, 0.1, 0.05, 0.15, 0.2, 0.25, 0.3]]
MOVE = [[0, 0, 0.3, -0.05, 0.1, -0.4, 0, 0], [0, 0, 0.1, -0.3, 0.05, 0, 0.2, 0]]
VALUE_MOVE = [[0, 0, 0.3, -0.05, 0.1, -0.4, 0, 0], [0, 0, 0.1, -0.3, 0.05, 0, 0.25, 0]]
MASK = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 0], [0, 0, 0, 1, 1, 1, 1, 1]]).bool()


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    rewards: Tensor
    raw: Tensor
    returns: Tensor
    mean: float
    var: float
    whitened: Tensor
    loss: Tensor
    stats: dict[str, Tensor]


@pytest.fixture(scope="module")
def golden() -> Golden:
    old, ref, values = (about_tokens(torch.tensor(x)) for x in (OLD, REF, VALUES))
    rewards = token_rewards(
        scores=torch.tensor([1.0, 0.1]), logprobs=old, ref_logprobs=ref, mask=MASK, kl_coef=0.05
    )
    raw = gae(rewards=rewards, values=values, mask=MASK, gamma=1.0, lam=0.95)
    mean, var = mean_and_variance(moments(raw.advantages, MASK))
    whitened = whiten(raw.advantages, MASK, mean=mean, var=var)
    outputs = {
        "logprobs": old + about_tokens(torch.tensor(MOVE)),
        "values": values + about_tokens(torch.tensor(VALUE_MOVE)),
    }
    fields = {
        "mask": MASK,
        "weights": sequence_mean_weights(MASK, num_sequences=2),
        "old_logprobs": old,
        "old_values": values,
        "advantages": whitened,
        "returns": raw.returns,
    }
    loss, stats = LOSS(outputs, fields)
    return Golden(
        rewards=rewards,
        raw=raw.advantages,
        returns=raw.returns,
        mean=mean,
        var=var,
        whitened=whitened,
        loss=loss,
        stats=stats,
    )


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("rewards", [-0.01, 0.005, -0.005, 0.99, 0.005, -0.015, 0, -0.0025, 0.1075]),
        (
            "raw",
            [0.609864, 0.547225, 0.4655, 0.39, 0.005533, 0.053193, -0.033481, -0.087875, -0.1425],
        ),
        (
            "returns",
            [0.909864, 0.947225, 0.9655, 0.99, 0.105533, 0.103193, 0.116519, 0.112125, 0.1075],
        ),
        (
            "whitened",
            [
                *[1.373793, 1.163414, 0.888930, 0.635354],
                *[-0.655924, -0.495853, -0.786958, -0.969646, -1.153111],
            ],
        ),
    ],
)
def test_golden_arrays(golden: Golden, name: str, wanted: list[float]):
    seen = getattr(golden, name)
    np.testing.assert_allclose(seen[MASK].numpy(), wanted, rtol=0, atol=1e-6)
    assert not seen[~MASK].any()


def test_golden_scalars(golden: Golden):
    assert golden.mean == pytest.approx(0.2008287, abs=1e-6)
    assert golden.var == pytest.approx(0.0886499, abs=1e-6)
    assert golden.stats["pg_loss"].item() == pytest.approx(-0.0877465, abs=1e-6)
    assert golden.stats["vf_loss"].item() == pytest.approx(0.0952681, abs=1e-6)
    assert golden.loss.item() == pytest.approx(0.3885939, abs=1e-6)
    assert golden.stats["loss"].item() == golden.loss.item()


def test_golden_figures_about_the_ratio(golden: Golden):
    # Row 0 moves by .3, -.05, .1, -.4 and row 1 by .1, -.3, .05, 0, .2; ratios outside 0.8..1.2
    # clip where that is the worse side: the first of row 0 (A > 0), the second of row 1 (A < 0).
    moves = [[0.3, -0.05, 0.1, -0.4], [0.1, -0.3, 0.05, 0, 0.2]]
    ratio = np.mean([np.mean(np.exp(row)) for row in moves])
    kl = np.mean([np.mean(np.exp(row) - 1 - np.array(row)) for row in moves])
    assert golden.stats["ratio"].item() == pytest.approx(ratio, abs=1e-6)
    assert golden.stats["approx_kl"].item() == pytest.approx(kl, abs=1e-6)
    assert golden.stats["clip_fraction"].item() == pytest.approx((1 / 4 + 1 / 5) / 2, abs=1e-6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    outputs: dict[str, Tensor]
    fields: dict[str, Tensor]


def _batch(spans: list[tuple[int, int]], seed: int) -> Batch:
    """Random arrays for sequences of (prompt, response) tokens; NaN where nothing counts."""
    rng = np.random.default_rng(seed)
    shape = (len(spans), max(p + n for p, n in spans) + 1)
    mask = np.zeros(shape, bool)
    for i, (prompt, response) in enumerate(spans):
        mask[i, prompt : prompt + response] = True

    def noise(scale: float) -> Tensor:
        return torch.tensor(np.where(mask, rng.normal(0, scale, shape), NAN), dtype=torch.float32)

    old, old_values = noise(1), noise(1)
    return Batch(
        outputs={"logprobs": old + noise(0.3), "values": old_values + noise(0.3)},
        fields={
            "mask": torch.tensor(mask),
            "weights": sequence_mean_weights(torch.tensor(mask), num_sequences=len(spans)),
            "old_logprobs": old,
            "old_values": old_values,
            "advantages": noise(1),
            "returns": noise(1),
        },
    )


def _by_loops(batch: Batch) -> float:
    """C.4 written out, one token at a time."""
    x = {name: v.double().numpy() for name, v in (batch.outputs | batch.fields).items()}
    total = 0.0
    for i, row in enumerate(batch.fields["mask"].tolist()):
        terms = []
        for t in [t for t, counts in enumerate(row) if counts]:
            rho = math.exp(x["logprobs"][i, t] - x["old_logprobs"][i, t])
            a, ret = x["advantages"][i, t], x["returns"][i, t]
            v, v_old = x["values"][i, t], x["old_values"][i, t]
            v_near = min(max(v, v_old - 0.2), v_old + 0.2)
            policy = max(-a * rho, -a * min(max(rho, 0.8), 1.2))
            value = 0.5 * max((v - ret) ** 2, (v_near - ret) ** 2)
            terms.append(policy + 5 * value)
        total += sum(terms) / max(len(terms), 1)
    return total / len(batch.fields["mask"])


@settings(max_examples=60, deadline=None)
@given(
    spans=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 7)), min_size=1, max_size=6),
    seed=st.integers(0, 2**16),
)
def test_ppo_agrees_with_loops_over_tokens(spans: list[tuple[int, int]], seed: int):
    batch = _batch(spans, seed)
    loss, _ = LOSS(batch.outputs, batch.fields)
    assert loss.item() == pytest.approx(_by_loops(batch), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("ways", [1, 2, 4])
def test_splitting_a_batch_changes_neither_loss_nor_gradient(ways: int):
    batch = _batch([(1, 7), (3, 1), (2, 4), (1, 0), (2, 2), (1, 5), (4, 3), (2, 6)], seed=3)
    states = torch.randn(8, 9, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def gradient(parts: int) -> tuple[float, Tensor]:
        heads = torch.full((5, 2), 0.1, dtype=torch.float64, requires_grad=True)
        total = 0.0
        for rows in torch.arange(8).chunk(parts):
            made = states[rows] @ heads
            old = {name: x[rows] for name, x in batch.fields.items()}
            outputs = {
                "logprobs": old["old_logprobs"] + made[..., 0],
                "values": old["old_values"] + made[..., 1],
            }
            loss, _ = LOSS(outputs, old)
            loss.backward()
            total += loss.item()
        assert heads.grad is not None
        return total, heads.grad

    whole_loss, whole = gradient(1)
    loss, split = gradient(ways)
    assert loss == pytest.approx(whole_loss, rel=1e-6)
    assert whole.abs().min() > 1e-4
    torch.testing.assert_close(split, whole, rtol=1e-5, atol=1e-7)


def test_what_does_not_count_reaches_no_gradient():
    batch = _batch([(2, 3), (1, 2)], seed=0)
    outputs = {name: x.clone().requires_grad_() for name, x in batch.outputs.items()}
    loss, stats = LOSS(outputs, batch.fields)
    loss.backward()
    assert all(math.isfinite(x) for x in stats.values())
    for x in outputs.values():
        assert x.grad is not None
        assert torch.isfinite(x.grad).all()
        assert not x.grad[~batch.fields["mask"]].any()


def test_a_micro_batch_of_padding_has_loss_zero_and_still_a_gradient():
    outputs = {name: torch.full((1, 4), NAN, requires_grad=True) for name in ("logprobs", "values")}
    fields = {"mask": torch.zeros(1, 4, dtype=torch.bool)} | dict.fromkeys(
        ("weights", "old_logprobs", "old_values", "advantages", "returns"), torch.zeros(1, 4)
    )
    loss, _ = LOSS(outputs, fields)
    loss.backward()
    assert loss.item() == 0
    assert outputs["logprobs"].grad is not None
    assert not outputs["logprobs"].grad.any()


def test_the_first_update_sees_ratio_one_and_no_kl():
    batch = _batch([(1, 4), (2, 6)], seed=5)
    same = {"logprobs": batch.fields["old_logprobs"], "values": batch.fields["old_values"]}
    _, stats = LOSS(same, batch.fields)
    assert stats["ratio"].item() == pytest.approx(1, abs=1e-6)
    assert stats["approx_kl"].item() == stats["clip_fraction"].item() == 0


def test_supervised_is_the_weighted_negative_log_likelihood():
    logprobs = torch.tensor([[NAN, -1.0, -2.0, -4.0]], requires_grad=True)
    weights = torch.tensor([[0.0, 0.25, 0.5, 0.25]])
    loss, stats = supervised_loss({"logprobs": logprobs}, {"weights": weights})
    loss.backward()
    assert loss.item() == stats["loss"].item() == 2.25
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [[0, -0.25, -0.5, -0.25]]


def test_halves_are_the_mean_of_two_supervised_losses():
    """By hand; where one half has no weights, the other weighs no more."""
    logprobs = torch.tensor([[NAN, -1.0, -2.0], [NAN, -4.0, -8.0]], requires_grad=True)
    fields = {
        "sampled_weights": torch.tensor([[0.0, 0.5, 0.5], [0.0, 0.0, 0.0]]),
        "gold_weights": torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.75, 0.25]]),
    }
    loss, stats = halves_loss({"logprobs": logprobs}, fields)
    loss.backward()
    assert {name: x.item() for name, x in stats.items()} == {
        "loss": 3.25,
        "sampled": 1.5,
        "gold": 5.0,
    }
    assert loss.item() == 3.25
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [[0, -0.25, -0.25], [0, -0.375, -0.125]]
    alone, stats = halves_loss(
        {"logprobs": logprobs}, {**fields, "sampled_weights": torch.zeros(2, 3)}
    )
    assert alone.item() == 2.5
    assert stats["sampled"].item() == 0


def test_classification_is_the_mean_cross_entropy_at_last_tokens():
    """Of three sequences in two rows, against torch's own; NaN wherever nothing counts."""
    scores = torch.tensor([[0.5, -1.5], [40.0, -40.0], [-3.0, 2.0]], requires_grad=True)
    right = torch.tensor([1, 1, 0])
    wanted = functional.cross_entropy(scores, right)
    wanted.backward()

    places = (torch.tensor([0, 0, 1]), torch.tensor([1, 3, 2]))
    outputs = {name: torch.full((2, 4), NAN) for name in ("wrong", "right")}
    fields = {"weights": torch.zeros(2, 4), "labels": torch.full((2, 4), NAN)}
    fields["weights"][places] = 1 / 3
    fields["labels"][places] = right.float()
    for column, name in enumerate(outputs):
        outputs[name][places] = scores.detach()[:, column]
        outputs[name].requires_grad_()
    loss, stats = classification_loss(outputs, fields)
    loss.backward()

    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    assert stats["loss"].item() == loss.item() > 80 / 3
    for column, name in enumerate(outputs):
        gradient = outputs[name].grad
        torch.testing.assert_close(gradient[places], scores.grad[:, column], rtol=1e-5, atol=1e-7)
        assert torch.count_nonzero(gradient) == 3


def test_classification_is_computed_in_fp32():
    scores = torch.tensor([[1.0, 1.0009765625]], dtype=torch.bfloat16)  # equal in bf16
    outputs = {"wrong": scores[:, :1], "right": scores[:, 1:]}
    fields = {"weights": torch.ones(1, 1), "labels": torch.ones(1, 1)}
    loss, _ = classification_loss(outputs, fields)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log(2), rel=1e-6)
