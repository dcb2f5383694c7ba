"""Pre-train: a base model for the shipped task.

ReFT starts from a pre-trained model, and a laptop has none. So this recipe makes one: language
modelling on generated documents that share the task's language (questions, programs that copy their
numbers and follow their form) but not its answers: operations and operands are random. Part of the
documents are random token strings repeated, which teach copying, the skill that all else needs.
Documents are a function of (seed, step); nothing else is carried from step to step.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reft_megatron.config import Config
from reft_megatron.errors import ConfigError
from reft_megatron.policy import Policy, StepStats
from reft_megatron.recipes.session import Session, due
from reft_megatron.recipes.supervised import Document, supervised_step
from reft_megatron.tasks.arithmetic import documents

__all__ = ["run"]

_COPY_TOKENS = (12, 48)
"""Shortest and longest string of a copy document."""


def run(config: Config) -> dict[str, Any]:
    """Train a base model from random weights; returns the summary."""
    if config.task.name != "arithmetic":
        raise ConfigError(
            f"pretrain makes a base model for task.name=arithmetic, saw {config.task.name!r}. "
            "For other tasks start from a pre-trained checkpoint (model.load)."
        )
    with Session(config, "pretrain") as session:
        settings = config.pretrain
        policy = Policy(config, session.mesh, session.tokenizer, total_steps=settings.steps)
        first = session.start(policy)
        stats: StepStats | None = None
        with session.log.phase("update", None, "tokens") as phase:
            for step in range(first + 1, settings.steps + 1):
                batch = _batch(session, step)
                stats = supervised_step(policy, batch, config, session.mesh)
                session.count_skip(stats, step, [document.id for document in batch])
                session.log.record(step, _metrics(stats))
                phase.advance(sum(len(document.tokens) for document in batch))
                stopping = session.stopping()
                if stopping or due(step, settings.checkpoint_every, settings.steps):
                    session.save(policy, step, best=False)
                if stopping:
                    return session.interrupted(policy, step)
        session.log.record(settings.steps, session.log.timings())
        return session.finish({"steps": settings.steps, "loss": stats.loss if stats else None})


def _batch(session: Session, step: int) -> list[Document]:
    """The documents of one step, the same on every rank."""
    config, settings = session.config, session.config.pretrain
    copies = round(settings.batch_size * settings.copy_fraction)
    texts = settings.batch_size - copies
    seed = config.run.seed
    generator = np.random.default_rng([seed, step])
    return [
        *(
            _text(session, question, rest)
            for question, rest in documents(count=texts, seed=seed, start=(step - 1) * texts)
        ),
        *(_copy(session, generator) for _ in range(copies)),
    ]


def _text(session: Session, question: str, rest: str) -> Document:
    """A question, lightly weighted, and its program."""
    tokenizer = session.tokenizer
    head, tail = tokenizer.encode(question), [*tokenizer.encode(rest), tokenizer.eos_id]
    question_weight = session.config.pretrain.question_weight
    weights = np.repeat(np.array([question_weight, 1], np.float32), [len(head), len(tail)])
    weights[0] = 0
    return Document(id="document", tokens=np.array(head + tail, np.int32), weights=weights)


def _copy(session: Session, generator: np.random.Generator) -> Document:
    """A random string twice; only the second time can be foretold."""
    ordinary = np.setdiff1d(
        np.arange(session.tokenizer.vocab_size), list(session.tokenizer.special_ids)
    )
    half = generator.choice(ordinary, generator.integers(*_COPY_TOKENS))
    weights = np.repeat(np.array([0, 1], np.float32), len(half))
    return Document(id="copy", tokens=np.tile(half, 2).astype(np.int32), weights=weights)


def _metrics(stats: StepStats) -> dict[str, float]:
    return {
        "train/loss": stats.loss,
        "train/grad_norm": stats.grad_norm,
        "train/lr": stats.lr,
    }
