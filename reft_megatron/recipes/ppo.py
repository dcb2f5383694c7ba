"""ReFT: reinforced fine-tuning with PPO (paper section 3.2).

The policy answers problems by sampling programs; each program is run and its answer checked. A
right answer earns 1, a wrong number 0.1, anything else 0, at the last token; every token also pays
`kl_coef` times the log-ratio to the frozen reference, the policy that PPO started from. A value
head on the shared trunk predicts what is still to come; generalised advantage estimation turns
rewards and values into advantages, which are whitened over the whole batch; and the clipped PPO
loss moves policy and values, `updates_per_batch` times over the same batch. Dropout is off
throughout.

One iteration is the page below. Problems come from an endless stream of shuffled epochs and
samples from noise keyed by (seed, iteration, problem), so the iteration number is all the state
there is beside weights and optimizer. Every rollout goes to the ledger on disk.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reft_megatron.config import Config
from reft_megatron.errors import ConfigError
from reft_megatron.learner.losses import ppo_loss
from reft_megatron.policy import Policy
from reft_megatron.recipes.collection import Collection
from reft_megatron.recipes.order import take
from reft_megatron.recipes.ppo_metrics import rollout_metrics, update_metrics
from reft_megatron.recipes.ppo_targets import set_scores, set_targets
from reft_megatron.recipes.selection import close_unit
from reft_megatron.recipes.session import Session
from reft_megatron.rollouts.buffer import RolloutBuffer
from reft_megatron.types import Problem

__all__ = ["run"]

_FIELDS = ("mask", "weights", "old_logprobs", "old_values", "advantages", "returns")


def run(config: Config) -> dict[str, Any]:
    """Train, keep the best and the last checkpoint, return the summary."""
    _check_sampling(config)
    with Session(config, "ppo") as session:
        settings = config.ppo
        problems = _problems(session)
        steps = settings.iterations * settings.updates_per_batch
        policy = session.build(total_steps=steps)
        reference = _reference(session)
        first = session.start(policy) + 1
        collection = Collection(session, first=first, last=settings.iterations)
        for iteration in range(first, settings.iterations + 1):
            if session.stopping():
                return session.interrupted(policy, iteration - 1)
            iterate(
                session,
                policy,
                reference=reference,
                problems=problems,
                collection=collection,
                iteration=iteration,
            )
            close_unit(
                session,
                policy,
                step=iteration,
                unit=iteration,
                last=settings.iterations,
                evaluate_every=settings.evaluate_every,
            )
        return session.finish(
            {"iterations": settings.iterations, "steps": policy.version, "best_dev": session.best}
        )


def iterate(
    session: Session,
    policy: Policy,
    *,
    reference: Policy | None,
    problems: Sequence[Problem],
    collection: Collection,
    iteration: int,
) -> None:
    """One PPO iteration: from problems to a better policy."""
    config, log, mesh = session.config, session.log, session.mesh
    size, seed = config.ppo.batch_size, config.run.seed
    sampling = session.answerer.sampling(seed * 1_000_003 + iteration)
    buffer = RolloutBuffer(mesh, pad_id=session.tokenizer.pad_id)

    # 1. Take the next problems.
    batch = take(problems, start=(iteration - 1) * size, count=size, seed=seed)

    # 2. Let the policy answer them, and run the programs; every completion gets a reward.
    samples = config.ppo.samples_per_problem
    rollouts = collection.collect(
        policy, batch, samples=samples, sampling=sampling, iteration=iteration
    )

    # 3. Spread the rollouts over the ranks.
    buffer.fill(rollouts)
    metrics = rollout_metrics(buffer.rollouts, asked=len(batch) * samples)
    buffer.distribute(
        max_tokens=config.optimizer.micro_batch_tokens, multiple_of=session.batch_multiple
    )

    # 4. Score them: log-probs and values now, log-probs of the reference.
    with log.phase("score", buffer.num_tokens, "tokens") as phase:
        set_scores(buffer, policy, reference, layout=session.layout)
        phase.advance(buffer.num_tokens)

    # 5. Turn rewards and values into targets.
    metrics |= set_targets(buffer, config, mesh, version=policy.version)
    metrics["reward/total"] = metrics["reward/mean"] + metrics["reward/kl"]

    # 6. Keep them, with what is known of each token now; then mind whether it can be believed.
    collection.keep(buffer, iteration)
    session.watch_mismatch(metrics["mismatch/ratio"], iteration)

    # 7. Move the policy towards them.
    if not config.rollouts.generate_only:
        metrics |= _update(session, policy, buffer, iteration=iteration)

    left_out = len(session.task.problems("train")) - len(problems)
    log.record(iteration, {**metrics, "prompts/dropped": left_out})


def _update(
    session: Session, policy: Policy, buffer: RolloutBuffer, *, iteration: int
) -> dict[str, float]:
    """`updates_per_batch` optimizer steps on the whole batch; metrics of the last."""
    config = session.config.ppo
    ids = [rollout.completion.problem_id for rollout in buffer.rollouts]
    rollouts = session.config.rollouts
    weighs = rollouts.importance_cap > 0
    batches = buffer.for_ppo(
        (*_FIELDS, "importance") if weighs else _FIELDS,
        policy_version=policy.version,
        max_staleness=rollouts.max_staleness,
        beyond="mark" if weighs else "refuse",
        **session.layout,
    )
    loss = functools.partial(ppo_loss, clip_range=config.clip_range, value_coef=config.value_coef)
    tokens = buffer.num_tokens
    with session.log.phase("update", config.updates_per_batch * tokens, "tokens") as phase:
        for _ in range(config.updates_per_batch):
            stats = policy.update(batches, loss=loss)
            session.count_skip(stats, iteration, ids)
            phase.advance(tokens)
    return session.optimizer_metrics(stats) | update_metrics(stats)


def _check_sampling(config: Config) -> None:
    """ConfigError unless samples come from the policy that is scored and trained."""
    sampling = config.generate
    asked = (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p)
    if asked != (1.0, 0, 1.0, 0.0):
        raise ConfigError(
            "PPO trains the policy it samples from: set generate.temperature=1, generate.top_k=0, "
            f"generate.top_p=1 and generate.min_p=0, saw {asked[0]:g}, {asked[1]}, {asked[2]:g} "
            f"and {asked[3]:g}."
        )


def _problems(session: Session) -> list[Problem]:
    """The training problems that can be asked; errors of the dev problems are met here too."""
    if dev := session.task.problems("dev"):
        session.answerer.fitting(dev)
    return session.answerer.fitting(session.task.problems("train"), trained=True)


def _reference(session: Session) -> Policy | None:
    """The frozen policy that KL is measured against; None if the KL term is off."""
    config = session.config
    if config.ppo.kl_coef == 0:
        return None
    policy = session.build(total_steps=None)
    if folder := config.model.reference or config.model.load:
        policy.load(Path(folder), weights_only=True)
    if config.model.reference_waits == "host":
        policy.park()
    return policy
