"""The sections hold their own checks, and PPO's defaults are the reference's."""

from __future__ import annotations

import dataclasses

import pytest
from pydantic import ValidationError

from reft_megatron.config import Config, ModelConfig, PpoConfig, RunConfig, load_config


def test_a_value_out_of_range_is_refused_where_it_is_made():
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        PpoConfig(iterations=0)
    with pytest.raises(ValidationError, match="at least 1 character"):
        RunConfig(name="")


def test_a_section_never_changes():
    config = Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.ppo = PpoConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.ppo.iterations = 3


@pytest.mark.parametrize(
    ("precision", "half", "samples_in_fp8"),
    [("fp32", 0, 0), ("bf16", 1, 0), ("fp8_rollout", 1, 1), ("fp8", 1, 1)],
)
def test_fp8_is_a_way_to_multiply_bf16(precision: str, *, half: int, samples_in_fp8: int):
    model = ModelConfig(precision=precision)
    assert (model.half, model.samples_in_fp8) == (half, samples_in_fp8)


@pytest.mark.parametrize(
    ("overrides", "cap"),
    [
        ((), 0),
        (("model.precision=bf16",), 0),
        (("model.precision=fp8_rollout",), 2),
        (("model.precision=fp8",), 2),
        (("model.precision=fp8", "rollouts.importance_cap=0"), 0),
        (("rollouts.importance_cap=1.5",), 1.5),
    ],
)
def test_what_an_fp8_sampler_says_is_weighed_unless_told_otherwise(
    overrides: tuple[str, ...], cap: float
):
    assert load_config(None, overrides).importance_cap == cap
