"""What self-training learns from: right completions, beside gold chains.

Owns how a completion becomes a document, and what a gold chain says in a completion's words, so
that what says the same is not learnt from twice. Offline and online self-training differ in where
completions come from and in how both are weighed, which is theirs.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from reft_megatron.recipes.room import room_of
from reft_megatron.recipes.session import Session
from reft_megatron.recipes.supervised import Document
from reft_megatron.rollouts.training_set import TrainingSet
from reft_megatron.tasks.task import Task
from reft_megatron.types import Problem

__all__ = ["gold_texts", "sampled_document"]


def gold_texts(task: Task, problems: Iterable[Problem]) -> dict[str, str]:
    """By problem id the gold chain as a completion, where it can be one."""
    texts = {problem.id: task.gold_completion(problem) for problem in problems}
    return {name: text for name, text in texts.items() if text is not None}


def sampled_document(session: Session, chosen: TrainingSet, index: int) -> Document:
    """A rollout to learn from: its response weighs 1, its prompt nothing.

    One that ended without an end-of-sequence token, since its program had returned, gets one, if
    there is room: else nothing would say where a response ends. One that was cut gets none.
    """
    tokens, eos = chosen.tokens(index), session.tokenizer.eos_id
    room = room_of(session.architecture, session.config, trained=True)
    responses = int(chosen.responses[index])
    if chosen.finished[index] and tokens[-1] != eos and len(tokens) < room.tokens:
        tokens, responses = np.append(tokens, np.int32(eos)), responses + 1
    weights = np.zeros(len(tokens), np.float32)
    weights[-responses:] = 1
    return Document(id=chosen.problem_id(index), tokens=tokens, weights=weights)
