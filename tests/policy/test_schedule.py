"""Micro-batches through the pipeline: in order, and never mixed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from reft_megatron.policy.schedule import run_schedule
from reft_megatron.policy.score import SCORES, token_head
from reft_megatron.rollouts.batch import MicroBatch
from tests.policy.scene import LAYOUTS, ONE, PPO, Layout, make_batches, open_policy


def loss_of(batch: MicroBatch, output: torch.Tensor) -> tuple[torch.Tensor, float]:
    value, _ = PPO(dict(zip(SCORES, output, strict=True)), batch.fields)
    return value, value.item()


def play_micro_batches(layout: Layout, fields: Any) -> tuple[list[float], ...]:
    """Losses of six equal micro-batches, losses of different ones, and those forward only."""
    policy = open_policy(layout)
    batches = make_batches(policy, fields, max_tokens=128)

    def losses(of: list[MicroBatch]) -> list[float]:
        for chunk in policy._wrapped:
            chunk.zero_grad_buffer()
        return run_schedule(
            policy._wrapped, of, policy.mesh, head_of=token_head, loss_of=loss_of, dropout=False
        )

    outputs = run_schedule(policy._chunks, batches, policy.mesh, head_of=token_head, dropout=False)
    assert not any(output.requires_grad for output in outputs)
    forward = [loss_of(b, out)[1] for b, out in zip(batches, outputs, strict=bool(outputs))]
    return losses([batches[0]] * 6), losses(batches), forward


@pytest.fixture(scope="module")
def plain(alone, fields) -> tuple[list[float], ...]:
    return play_micro_batches(ONE, fields)


@pytest.mark.megatron
@pytest.mark.parametrize("name", LAYOUTS)
def test_equal_micro_batches_have_equal_losses(ranks, fields, name: str):
    layout = LAYOUTS[name]
    seen = ranks(layout.world, play_micro_batches, layout, fields)
    last = [equal for equal, *_ in seen if equal]
    assert len(last) == layout.world // layout.pipeline, "only the last stage has losses"
    for equal in last:
        assert equal == [equal[0]] * 6, "micro-batches were mixed on their way"


@pytest.mark.megatron
@pytest.mark.parametrize("name", ["tp2", "pp2", "pp2-vpp2", "tp2-pp2"])
def test_micro_batches_come_out_in_order(ranks, fields, plain, name: str):
    layout = LAYOUTS[name]
    seen = ranks(layout.world, play_micro_batches, layout, fields)[-1]
    wanted = plain[1]
    assert len(set(wanted)) == len(wanted) == 4
    for losses in (*seen[1:], plain[2]):
        assert losses == pytest.approx(wanted, rel=1e-5)
