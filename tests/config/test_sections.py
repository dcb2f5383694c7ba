"""The sections hold their own checks, and PPO's defaults are the reference's."""

from __future__ import annotations

import dataclasses

import pytest
from pydantic import ValidationError

from reft_megatron.config import Config, PpoConfig, RunConfig


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
