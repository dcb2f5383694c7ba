"""Pre-train: a base model for the shipped task.

ReFT starts from a pre-trained model, and a laptop has none. So this recipe makes one: language
modelling on generated documents in the task's language, none of whose questions is in any split.
They are of mixed quality, as a crawl of the web is: a share of the programs is right, the others
copy the numbers and then do anything with them. Part of the documents are random token strings
repeated, which teach copying, the skill that all else needs.

Documents are a function of (seed, step); nothing else is carried from step to step.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reft_megatron.config import Config, PretrainConfig
from reft_megatron.errors import ConfigError
from reft_megatron.policy import Policy
from reft_megatron.recipes.session import Session
from reft_megatron.recipes.supervised import Document, document, supervised_step
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
        steps = config.pretrain.steps
        policy = session.build(total_steps=steps)
        session.start(policy)
        while policy.version < steps:
            if not _train(session, policy, until=_next_checkpoint(policy.version, config.pretrain)):
                return session.interrupted(policy, policy.version)
            session.save(policy, policy.version)
            session.log.record(policy.version, session.log.timings())
            session.log.table(policy.version, steps)
        return session.finish({"steps": steps, "skipped_steps": session.skipped})


def _next_checkpoint(step: int, settings: PretrainConfig) -> int:
    every = settings.checkpoint_every or settings.steps
    return min((step // every + 1) * every, settings.steps)


def _train(session: Session, policy: Policy, until: int) -> bool:
    """Take steps up to `until`; False if the run was told to stop before."""
    with session.log.phase("update", None, "tokens") as phase:
        while policy.version < until:
            if session.stopping():
                return False
            batch = _batch(session, policy.version)
            supervised_step(session, policy, batch)
            phase.advance(sum(len(document.tokens) for document in batch))
    return True


def _batch(session: Session, step: int) -> list[Document]:
    """The documents of step `step` (0-based), the same on every rank."""
    settings, seed = session.config.pretrain, session.config.run.seed
    copies = round(settings.batch_size * settings.copy_fraction)
    texts = settings.batch_size - copies
    generator = np.random.default_rng([seed, step])
    return [
        *(
            document(
                session, question, rest, name="a document", given_weight=settings.question_weight
            )
            for question, rest in documents(
                count=texts, seed=seed, start=step * texts, right=settings.right_fraction
            )
        ),
        *(_copy(session, generator) for _ in range(copies)),
    ]


def _copy(session: Session, generator: np.random.Generator) -> Document:
    """A random string twice; only the second time can be foretold."""
    ordinary = np.setdiff1d(
        np.arange(session.tokenizer.vocab_size), list(session.tokenizer.special_ids)
    )
    half = generator.choice(ordinary, generator.integers(*_COPY_TOKENS, endpoint=True))
    weights = np.repeat(np.array([0, 1], np.float32), len(half))
    return Document(id="a copy", tokens=np.tile(half, 2).astype(np.int32), weights=weights)
