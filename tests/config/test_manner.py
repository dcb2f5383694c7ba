"""Tests that the list is of settings there are."""

from __future__ import annotations

from reft_megatron.config import describe
from reft_megatron.config.manner import MANNER


def test_every_beginning_is_that_of_a_setting() -> None:
    keys = [key for key, _, _ in describe()]
    assert [start for start in MANNER if not any(key.startswith(start) for key in keys)] == []


def test_what_a_run_computes_is_not_its_manner() -> None:
    keys = [key for key, _, _ in describe() if key.startswith(MANNER)]
    assert {"rewards.isolation", "parallel.tensor", "log.progress"} <= set(keys)
    sections = {key.partition(".")[0] for key in keys}
    assert not sections & {"task", "optimizer", "tokenizer", "pretrain", "sft", "ppo", "evaluate"}
    assert not {"run.seed", "rewards.partial", "generate.temperature"} & set(keys)
