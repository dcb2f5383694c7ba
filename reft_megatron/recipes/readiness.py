"""What a run needs before a model is built: head, folder, a reward to trust.

Owns the bar that a run may demand of its reward (`rewards.audit`). `reft-megatron audit` shows the
same in full.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reft_megatron.config import Config
from reft_megatron.config.recipes import RECIPES
from reft_megatron.errors import ConfigError
from reft_megatron.mesh import Mesh
from reft_megatron.rewards import RewardFile, open_judge
from reft_megatron.rewards.audit import audit
from reft_megatron.rewards.labelling import PROBLEMS, labelled
from reft_megatron.tasks import Task, read_labelled
from reft_megatron.types import Labelled

__all__ = ["check_head", "check_reward", "make_folder"]

_HEADS: Mapping[str, str] = dict.fromkeys(RECIPES, "value") | {"rerank": "rerank"}
"""The `model.head` that each recipe wants: what is trained before PPO is what PPO goes on with."""


def check_head(config: Config, recipe: str) -> None:
    """ConfigError unless the model's head is the one that the recipe wants."""
    wanted, seen = _HEADS[recipe], config.model.head
    if seen != wanted:
        raise ConfigError(
            f"{recipe} has no use for model.head={seen}. Set model.head={wanted}. (What each "
            f"recipe wants: {', '.join(f'{name} {head}' for name, head in _HEADS.items())}.)"
        )


def make_folder(folder: Path) -> None:
    """The run's folder, if it is not there; raises ConfigError if it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot make the run's folder {folder}: {error.strerror}. Choose another run.dir."
        ) from None


def check_reward(config: Config, task: Task, mesh: Mesh) -> None:
    """Load the reward of a custom task, and audit it if `rewards.audit` asks; every rank calls.

    Every rank that judges loads it, for it may stand on another machine; one rank audits, and the
    others wait, however long it takes. Raises on every rank: ConfigError for a file that has no
    reward or a task that no cases are built for, TrainingError if the reward does not meet its bar,
    DataError for a file that holds no labelled completions or a task without gold chains.
    """
    audits = mesh.main and bool(config.rewards.audit)
    with mesh.world.together(patient=True):
        if audits or (mesh.writer and config.task.name == "custom"):
            _try_out(config, task, audits=audits)


def _try_out(config: Config, task: Task, *, audits: bool) -> None:
    with open_judge(config.task, config.rewards, kind=task.kind) as judge:
        if isinstance(judge, RewardFile):
            judge.start()
        if audits:
            audit(_cases(config, task), judge.check).demand(
                max_false_positive_rate=config.rewards.max_false_positive_rate,
                max_false_negative_rate=config.rewards.max_false_negative_rate,
            )


def _cases(config: Config, task: Task) -> list[Labelled]:
    if config.rewards.audit != "built":
        return read_labelled(config.rewards.audit, kind=task.kind)
    problems = task.problems("train")[:PROBLEMS]
    return labelled(problems, config.task, config.rewards, kind=task.kind)
