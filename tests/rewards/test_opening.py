"""A task gets the judge that can judge it."""

from __future__ import annotations

import pytest

from reft_megatron.config import RewardConfig, TaskConfig
from reft_megatron.errors import ConfigError
from reft_megatron.rewards import Judge, RewardFile, open_judge


def test_a_file_of_the_users_goes_first() -> None:
    with open_judge(TaskConfig(name="custom", reward="x.py"), RewardConfig(), kind="text") as judge:
        assert isinstance(judge, RewardFile)
        assert judge.partial == 0.1
    with open_judge(TaskConfig(), RewardConfig(), kind="number") as judge:
        assert isinstance(judge, Judge)


def test_text_wants_a_reward_of_its_own() -> None:
    with pytest.raises(ConfigError, match=r"task\.answers is text, .* in task\.reward"):
        open_judge(TaskConfig(name="custom", answers="text"), RewardConfig(), kind="text")
