"""The defaults of the recipes are those of the paper's scripts."""

from __future__ import annotations

from reft_megatron.config import PpoConfig


def test_the_defaults_of_ppo_are_those_of_the_reference():
    """The scripts of its repository for programs."""
    ppo = PpoConfig()
    assert ppo.updates_per_batch == 2
    assert (ppo.kl_coef, ppo.value_coef, ppo.clip_range) == (0.01, 5.0, 0.2)
    assert (ppo.gamma, ppo.lam) == (1.0, 0.95)
