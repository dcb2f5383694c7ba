"""Which problems iterations ask, and what a run of them leaves. (Kills: test_ppo and others.)"""

from __future__ import annotations

import pytest

from reft_megatron.recipes.order import take
from reft_megatron.rollouts.ledger import Ledger
from tests.launch import CONSTANT_LR, Launcher

pytestmark = pytest.mark.megatron


def test_an_iteration_asks_the_next_problems_of_the_stream(launch: Launcher) -> None:
    """Of those whose prompts are short enough; where an epoch ends some are asked again."""
    lengths = launch.prompt_lengths("train")
    fitting = [name for name, length in lengths.items() if length == min(lengths.values())]
    assert 20 < len(fitting) < 32
    run = launch(
        1, "online_sl", "stream", *CONSTANT_LR, "online_sl.iterations=2", "online_sl.batch_size=20",
        "online_sl.updates_per_batch=3", "online_sl.samples_per_problem=2",
        f"generate.max_prompt_tokens={min(lengths.values())}",
    )  # fmt: skip
    for number in (1, 2):
        rollouts = Ledger(run.folder / "ledger").read(number)
        wanted = take(fitting, start=20 * (number - 1), count=20, seed=0)
        asked = [rollout.completion.problem_id for rollout in rollouts]
        assert sorted(asked) == sorted(2 * wanted)
        assert {r.seed for r in rollouts} == {number}
        assert {r.policy_version for r in rollouts} == {3 * (number - 1)}
    assert run.series("prompts/dropped") == [32 - len(fitting)] * 2
    assert run.series("train/epoch") == [n * 20 / len(fitting) for n in (1, 2)]
    assert run.summary["iterations"] == 2
    assert run.summary["steps"] == 6
    assert run.summary["best_dev"] == max(run.series("eval/dev_accuracy"))
