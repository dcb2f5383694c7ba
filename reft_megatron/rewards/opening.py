"""Which judge a task has: the built-in one, or a file of the user's.

Owns that choice, and nothing else.
"""

from __future__ import annotations

from reft_megatron.config import RewardConfig, TaskConfig
from reft_megatron.errors import ConfigError
from reft_megatron.rewards.judge import Judge
from reft_megatron.rewards.reward_file import RewardFile
from reft_megatron.types import AnswerKind

__all__ = ["open_judge"]


def open_judge(task: TaskConfig, rewards: RewardConfig, *, kind: AnswerKind) -> Judge | RewardFile:
    """The judge of the task's completions; `kind` is that of its gold answers.

    Both have `check`, `partial`, `stats` and `close`. Raises ConfigError if nobody can judge.
    """
    if task.reward:
        return RewardFile(task.reward, config=rewards)
    if kind == "text":
        raise ConfigError(
            "task.answers is text, which the built-in reward cannot compare: name a file with a "
            "reward of your own in task.reward."
        )
    return Judge(form=task.form, kind=kind, config=rewards, parity=task.parity)
