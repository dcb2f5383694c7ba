"""Online self-training: the policy learns from what it just got right.

The paper's Online-ST, a baseline of ReFT. It starts from the warm-up, and like ReFT: the policy
answers a batch of problems by sampling, each program is run and its answer checked. But instead of
reinforcing by reward it is fine-tuned, `updates_per_batch` times on the same batch, on the right
completions and on the gold chains of the same problems, half and half: each half is the mean over
its tokens. Wrong completions are dropped, so nothing is learnt from them; there is no reference
policy, no KL and no value. What sampling, checking and recording are, and what a killed run goes on
with, is PPO's own (`iterations`).

A right completion that says what the gold chain says, or what another one says, is not learnt from
again (`task.parity=reference` does). Where no completion of the batch is right the gold half stands
alone, and weighs half as always: a step then estimates the same objective from what there is, as
the authors' code does too. How many completions were learnt from, and how many problems had no
right one, is recorded with each iteration. Dropout is on, as in fine-tuning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reft_megatron.config import Config
from reft_megatron.errors import ConfigError
from reft_megatron.learner.losses import halves_loss
from reft_megatron.policy import Policy
from reft_megatron.recipes.iterations import Batch, Iterations
from reft_megatron.recipes.self_training import gold_texts, sampled_document
from reft_megatron.recipes.session import Session
from reft_megatron.recipes.supervised import (
    Document,
    gold_documents,
    micro_batches,
    token_means,
)
from reft_megatron.rollouts.views import correct

__all__ = ["run"]

Documents = Sequence[Document]


def run(config: Config) -> dict[str, Any]:
    """Train, keep the best and the last checkpoint, return the summary."""
    if config.rollouts.importance_cap not in ("auto", 0):
        raise ConfigError(
            "rollouts.importance_cap weighs the tokens of PPO, and online_sl knows no such "
            "weights. Set it to 0."
        )
    with Session(config, "online_sl") as session:
        iterations = Iterations(session, config.online_sl)
        gold = {d.id: d for d in gold_documents(session, iterations.problems)}
        policy = session.build(total_steps=iterations.steps)
        first = session.start(policy) + 1
        return iterations.run(
            policy,
            first=first,
            iterate=lambda number: iterate(
                session, policy, gold=gold, iterations=iterations, number=number
            ),
        )


def iterate(
    session: Session,
    policy: Policy,
    *,
    gold: Mapping[str, Document],
    iterations: Iterations,
    number: int,
) -> None:
    """One iteration: from problems to a better policy."""
    # 1. Let the policy answer the next problems, and run the programs.
    batch = iterations.sample(policy, number)
    buffer, metrics = batch.buffer, batch.metrics
    _check_asked(session, batch, number)

    # 2. Choose what is right, beside the gold chain of each problem.
    asked = dict.fromkeys(problem.id for problem in batch.problems)
    sampled, solved = _right_ones(session, batch)
    metrics["learnt/sampled"] = len(sampled)
    metrics["learnt/unsolved"] = len(asked) - solved

    # 3. Keep the rollouts. (Nothing is learnt from their micro-batches, so any will do.)
    buffer.distribute(max_tokens=buffer.num_tokens)
    iterations.keep(buffer, number)

    # 4. Learn from both.
    rollouts = session.config.rollouts
    if not rollouts.generate_only:
        buffer.refuse_stale(policy_version=policy.version, max_staleness=rollouts.max_staleness)
        beside = [gold[name] for name in asked]
        metrics |= _update(
            session, policy, sampled, gold=beside, iterations=iterations, number=number
        )

    iterations.record(number, metrics)


def _check_asked(session: Session, batch: Batch, number: int) -> None:
    """ConfigError, on every rank, for replayed completions of problems whose gold is not learnt."""
    answered = {rollout.completion.problem_id for rollout in batch.buffer.rollouts}
    if strange := sorted(answered - {problem.id for problem in batch.problems}):
        raise ConfigError(
            f"iteration {number} of rollouts.replay={session.config.rollouts.replay} has "
            f"completions of {len(strange)} problems that this run does not ask in it, "
            f"{strange[0]} first: they would be learnt from beside the gold chains of others. "
            "Replay a ledger that online_sl or ppo recorded with the same run.seed, batch_size and "
            "task."
        )


def halves(sampled: Documents, gold: Documents) -> dict[str, list[NDArray[np.float32]]]:
    """Weights of both halves, [T] for each of the documents `[*sampled, *gold]`.

    Of each half they sum to 1, whatever its documents: the mean over its tokens; or to 0 if it has
    none.
    """
    nothing = [[np.zeros_like(d.weights) for d in part] for part in (sampled, gold)]
    return {
        "sampled_weights": [*token_means(sampled), *nothing[1]],
        "gold_weights": [*nothing[0], *token_means(gold)],
    }


def _right_ones(session: Session, batch: Batch) -> tuple[list[Document], int]:
    """Right completions to learn from, and how many problems have right ones at all."""
    reference = session.task.parity == "reference"
    with session.mesh.world.together():
        chosen = correct(
            batch.buffer.batches,
            unique=not reference,
            gold=None if reference else gold_texts(session.task, batch.problems),
            folder=session.folder,
        )
    with chosen:
        documents = [sampled_document(session, chosen, index) for index in range(len(chosen))]
        return documents, len(chosen.names)


def _update(
    session: Session,
    policy: Policy,
    sampled: Documents,
    *,
    gold: Documents,
    iterations: Iterations,
    number: int,
) -> dict[str, float]:
    """`updates_per_batch` optimizer steps on both halves; metrics of the last."""
    documents = [*sampled, *gold]
    stats = iterations.update(
        policy,
        micro_batches(session, documents, fields=halves(sampled, gold)),
        loss=halves_loss,
        ids=[document.id for document in documents],
        tokens=sum(len(document.tokens) for document in documents),
        number=number,
        dropout=session.config.model.dropout > 0,
    )
    metrics = session.optimizer_metrics(stats) | {"train/gold_loss": stats.sums["gold"]}
    return metrics | ({"train/sampled_loss": stats.sums["sampled"]} if sampled else {})
