"""Pre-training: its documents, and a run of it."""

from __future__ import annotations

import signal

import numpy as np
import pytest

from reft_megatron.config import load_config
from reft_megatron.errors import ConfigError
from reft_megatron.recipes.pretrain import _batch, _next_checkpoint, run
from reft_megatron.recipes.session import Session
from reft_megatron.recipes.supervised import Document
from reft_megatron.tasks.arithmetic import documents
from tests.launch import Launcher, differences
from tests.ranks import Ranks

BASE = (
    "task.name=arithmetic",
    "task.train=",
    "task.train_size=1",
    "task.test_size=1",
    "optimizer.micro_batch_tokens=1024",
    "pretrain.batch_size=8",
    "pretrain.copy_fraction=0.25",
    "pretrain.question_weight=0.125",
)


def play_batches(overrides: tuple[str, ...]) -> tuple[list[list[Document]], list[str], set[int]]:
    """The first two steps' documents, twice; texts of the first six; special tokens."""
    with Session(load_config(None, overrides), "pretrain") as session:
        batches = [_batch(session, step) for step in (0, 1, 0, 1)]
        texts = [session.tokenizer.decode(d.tokens) for batch in batches[:2] for d in batch[:6]]
        return batches, texts, set(session.tokenizer.special_ids)


@pytest.mark.megatron
def test_documents(launch: Launcher, ranks: Ranks) -> None:
    ((batches, texts, special),) = ranks(1, play_batches, (*launch.base, *BASE))
    tokens = [[document.tokens.tolist() for document in batch] for batch in batches]
    assert tokens[:2] == tokens[2:]
    assert tokens[0] != tokens[1]
    assert texts == [question + rest for question, rest in documents(count=12, seed=0)]
    for batch in batches[:2]:
        assert [document.id for document in batch] == ["a document"] * 6 + ["a copy"] * 2
        for text in batch[:6]:
            weights = text.weights.tolist()
            switch = weights.index(1.0)
            assert weights == [0.0, *[0.125] * (switch - 1), *[1.0] * (len(weights) - switch)]
            assert text.tokens[-1] in special
        for copy in batch[6:]:
            first, second = np.split(copy.tokens, 2)
            assert first.tolist() == second.tolist()
            assert 12 <= len(first) <= 48
            assert not special & set(first.tolist())
            assert copy.weights.tolist() == [0.0] * len(first) + [1.0] * len(first)


@pytest.mark.parametrize(("every", "stops"), [(0, [5]), (2, [2, 4, 5]), (9, [5])])
def test_checkpoints_fall_due(every: int, stops: list[int]) -> None:
    settings = load_config(None, ["pretrain.steps=5", f"pretrain.checkpoint_every={every}"])
    found = [0]
    while found[-1] < 5:
        found.append(_next_checkpoint(found[-1], settings.pretrain))
    assert found[1:] == stops


@pytest.mark.megatron
def test_a_run_killed_stopped_and_resumed(launch: Launcher) -> None:
    settings = (*BASE, "pretrain.steps=12", "pretrain.checkpoint_every=3")
    whole = launch(2, "pretrain", "base", *settings)
    assert whole.summary == {"steps": 12, "skipped_steps": 0}
    assert whole.checkpoints[-2:] == ["step_00000009", "step_00000012"]
    run = launch.start(2, "pretrain", "base-cut", *settings)
    run.signal(signal.SIGTERM, once=lambda: run.step >= 1)
    assert run.codes == [0, 0]
    assert 1 <= run.step < 12
    assert run.has(run.step)
    run = launch.start(2, "pretrain", "base-cut", *settings)
    run.signal(signal.SIGKILL, once=lambda: run.has(9))
    resumed = launch(2, "pretrain", "base-cut", *settings)
    assert resumed.content("metrics.jsonl") == whole.content("metrics.jsonl")
    assert resumed.summary == whole.summary
    assert differences(resumed, whole, 12) == []
    patterns = ("metrics.jsonl", "summary.json", "checkpoints/**/*")
    before = [resumed.content(pattern) for pattern in patterns]
    again = launch(2, "pretrain", "base-cut", *settings)
    assert [again.content(pattern) for pattern in patterns] == before


def test_only_the_shipped_task_has_documents() -> None:
    with pytest.raises(ConfigError) as caught:
        run(load_config(None, ["task.name=gsm8k"]))
    assert str(caught.value) == (
        "pretrain makes a base model for task.name=arithmetic, saw 'gsm8k'. For other tasks start "
        "from a pre-trained checkpoint (model.load)."
    )
