"""Completions are judged while others are still to come."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from reft_megatron.config import load_config
from reft_megatron.recipes.judging import Bench, Hearing
from reft_megatron.tasks import load_task
from reft_megatron.tokenizer import load_tokenizer
from reft_megatron.types import Completion, Rollout


@pytest.fixture(params=[2])
def bench(tokenizer_path: Path, request: pytest.FixtureRequest):
    settings = ["task.train_size=100", "task.dev_size=1", "task.test_size=1"]
    workers = f"rewards.workers={request.param}"
    config = load_config(None, [f"tokenizer.path={tokenizer_path}", workers, *settings])
    made = Bench(config, task=load_task(config.task), tokenizer=load_tokenizer(tokenizer_path))
    yield made
    made.close()


def answers(bench: Bench) -> list[Completion]:
    """One to each training problem, every third one wrong."""
    return [
        Completion(
            problem_id=problem.id,
            sample=0,
            prompt_ids=np.zeros(1, np.int32),
            token_ids=np.array(
                bench._tokenizer.encode_continuation(f"    return {problem.answer} + {i % 3 // 2}"),
                np.int32,
            ),
            logprobs=np.zeros(1, np.float32),
            finished=True,
        )
        for i, problem in enumerate(bench._task.train)
    ]


@pytest.mark.parametrize(
    ("bench", "batch"), [(2, 32), (20, 40)], indirect=["bench"], ids=["threads", "workers"]
)
def test_batches_are_judged_as_they_fill(bench: Bench, batch: int):
    kept: list[Rollout] = []
    judged = threading.Event()

    def keep(rollouts: Sequence[Rollout]) -> None:
        kept.extend(rollouts)
        judged.set()

    hearing = Hearing(bench, bench._task.train, version=3, seed=4, keep=keep)
    completions = answers(bench)
    for completion in completions[:48]:
        hearing.add(completion)
    assert judged.wait(30)
    assert len(kept) == batch, "the others wait for more"
    for completion in completions[48:]:
        hearing.add(completion)
    rollouts = hearing.rollouts()
    assert hearing.count == len(rollouts) == len(completions)
    assert kept == rollouts
    assert [r.completion for r in rollouts] == completions
    assert [r.verdict.correct for r in rollouts] == [i % 3 < 2 for i in range(len(completions))]
    assert {(r.policy_version, r.seed) for r in rollouts} == {(3, 4)}


def test_what_fails_on_the_thread_is_told_to_who_waits(bench: Bench):
    def keep(rollouts: Sequence[Rollout]) -> None:
        raise OSError("no space")

    hearing = Hearing(bench, bench._task.train, version=0, seed=0, keep=keep)
    hearing.add(answers(bench)[0])
    with pytest.raises(OSError, match=r"^no space$"):
        hearing.rollouts()
