"""A task of the user's own from its page: fine-tuned, trained on its reward, and stopped by it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from reft_megatron.rollouts.ledger import Ledger
from tests.launch import Launcher, Run

pytestmark = pytest.mark.megatron
PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"
SMALL = ("sft.epochs=3", "sft.batch_size=2", "sft.evaluate_every=3", "ppo.iterations=2")


def block(language: str) -> str:
    [found] = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Settings of the page's task, its files in a folder."""
    folder = tmp_path_factory.mktemp("task")
    settings = yaml.safe_load(block("yaml"))["task"]
    for setting, language in (("train", "json"), ("reward", "python")):
        (folder / settings[setting]).write_text(block(language))
        settings[setting] = str(folder / settings[setting])
    return tuple(f"task.{name}={value}" for name, value in settings.items())


@pytest.fixture(scope="module")
def warmed(launch: Launcher, task: tuple[str, ...]) -> Run:
    return launch(1, "sft", "own-sft", *task, *SMALL)


def test_it_is_fine_tuned_and_trained(launch: Launcher, task: tuple[str, ...], warmed: Run) -> None:
    assert warmed.summary["steps"] == 6
    settings = (*task, *SMALL, "ppo.batch_size=4", "ppo.samples_per_problem=2")
    load = f"model.load={warmed.folder / 'checkpoints' / 'latest'}"
    run = launch(1, "ppo", "own-ppo", *settings, load, "checkpoint.every=0")
    rollouts = [r for n in (1, 2) for r in Ledger(run.folder / "ledger").read(n)]
    assert len(rollouts) == 2 * 4 * 2
    for rollout in rollouts:
        numbers = re.findall(r"-?\d+", rollout.text)
        assert rollout.verdict.value == (float(numbers[-1]) if numbers else None)
        assert (
            rollout.reward
            == {"correct": 1.0, "wrong_value": 0.1, "no_solution": 0.0}[
                rollout.verdict.reason.value
            ]
        )
    assert len({rollout.verdict.reason for rollout in rollouts}) > 1


def test_a_reward_that_fails_stops_the_run(
    launch: Launcher, task: tuple[str, ...], warmed: Run, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("def reward(problem, completion):\n    return 1 // 0\n")
    load = f"model.load={warmed.folder / 'checkpoints' / 'latest'}"
    told = launch.refused(
        1, "ppo", "own-broken", *task, *SMALL, "ppo.batch_size=4", load, f"task.reward={broken}"
    )
    assert re.search(
        r"TrainingError: (\d+) of \1 completions could not be judged, more than "
        r"rewards\.max_fault_fraction=0\.01; the last one: m\d: ZeroDivisionError: integer "
        r"division or modulo by zero \(broken\.py, line 2\)\. Mend .*broken\.py\.",
        told,
    )


def test_a_reward_that_cannot_be_loaded_starts_nothing(
    launch: Launcher, task: tuple[str, ...], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("import nowhere\n")
    told = launch.refused(2, "sft", "own-bad", *task, f"task.reward={bad}")
    assert told == (
        f"reft-megatron: ConfigError: task.reward={bad}: {bad} cannot be imported: "
        "ModuleNotFoundError: No module named 'nowhere' (bad.py, line 1).\n"
    )
