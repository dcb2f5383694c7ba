"""When to evaluate and save, and which checkpoints are left."""

from __future__ import annotations

import pytest

from reft_megatron.recipes.selection import due
from tests.launch import Launcher


@pytest.mark.parametrize(
    ("every", "last", "times"),
    [(0, 5, [5]), (1, 3, [1, 2, 3]), (2, 5, [2, 4, 5]), (9, 3, [3]), (3, 6, [3, 6])],
)
def test_due(every: int, last: int, times: list[int]) -> None:
    assert [unit for unit in range(1, last + 1) if due(unit, every, last)] == times


@pytest.mark.megatron
def test_the_best_and_the_last_are_kept(launch: Launcher) -> None:
    run = launch(
        1, "sft", "best", "sft.epochs=5", "sft.batch_size=4", "checkpoint.every=1",
        "checkpoint.keep_last=1",
    )  # fmt: skip
    accuracies = run.series("eval/dev_accuracy")
    best = 8 * (1 + accuracies.index(max(accuracies)))
    assert len(accuracies) == 5
    assert 0 < best < 40, "the story needs a best epoch before the last"
    steps = [f"step_{best:08d}", "step_00000040"]
    assert run.checkpoints == [f"best->{steps[0]}", f"latest->{steps[1]}", *steps]
    assert run.summary["best_dev"] == max(accuracies)


@pytest.mark.megatron
def test_without_dev_problems_nothing_is_best(launch: Launcher) -> None:
    run = launch(1, "sft", "undeveloped", "task.dev_size=0", "sft.epochs=1", "sft.batch_size=20")
    assert run.series("eval/dev_accuracy") == []
    assert run.checkpoints == ["latest->step_00000002", "step_00000002"]
    assert run.summary["best_dev"] is None
