"""Problems of the user's own: records of `id`, `question` and `answer`.

Owns what these fields must look like and which settings go together. Other fields are kept for the
user's reward.
"""

from __future__ import annotations

from reft_megatron.config import TaskConfig
from reft_megatron.errors import ConfigError
from reft_megatron.tasks.gold import answer_kind, stated_answer
from reft_megatron.tasks.items import PROGRAM_START
from reft_megatron.tasks.prompts import ANSWER_TRIGGER
from reft_megatron.tasks.records import Record
from reft_megatron.types import Problem

__all__ = ["QUESTION", "REMEDY", "check_settings", "custom_problem"]

QUESTION = "{question}"
"""What stands for the question in `task.prompt`."""

REMEDY = "docs/tasks.md says what a file of your own problems holds."
"""Closes the messages about bad files."""

_FIELDS = {"id", "question", "answer", "chain"}


def check_settings(config: TaskConfig) -> None:
    """ConfigError for settings of custom tasks on another task, or that do not go together."""
    if config.name != "custom":
        for name, default in (("reward", ""), ("prompt", ""), ("answers", "number")):
            if getattr(config, name) != default:
                raise ConfigError(
                    f"task.{name} is for tasks of your own, and task.name is {config.name}: set "
                    "task.name=custom, or leave it out."
                )
    elif config.parity == "reference":
        raise ConfigError(
            "task.parity=reference restores the authors' code, which has no custom tasks."
        )
    elif config.prompt and QUESTION not in config.prompt:
        raise ConfigError(
            f"task.prompt is {config.prompt!r:.60} and asks nothing: wanted {QUESTION} in it."
        )


def custom_problem(record: Record, config: TaskConfig) -> Problem:
    """The problem of one record; numbers may be JSON numbers, everything else is text.

    Raises:
        DataError: a field is missing or malformed, or the gold answer is not of `task.answers`.
    """
    return Problem(
        id=record.text("id"),
        question=record.text("question"),
        answer=stated_answer(record, "answer", kind=answer_kind(config)),
        cot=_chain(record, config),
        extra={name: value for name, value in record.fields.items() if name not in _FIELDS},
    )


def _chain(record: Record, config: TaskConfig) -> str:
    if "chain" not in record.fields:
        return ""
    chain = record.text("chain")
    program = config.form == "program"
    if not config.prompt:
        if program and not chain.startswith(PROGRAM_START):
            raise record.error(
                "chain", f"does not begin with {PROGRAM_START!r}, but task.form is program"
            )
        return chain
    mark = PROGRAM_START if program else ANSWER_TRIGGER
    if not config.reward and mark not in chain:
        raise record.error(
            "chain",
            f"has no {mark!r}, and without it the built-in reward finds no answer: add it, or name "
            "a reward of your own in task.reward",
        )
    return chain
