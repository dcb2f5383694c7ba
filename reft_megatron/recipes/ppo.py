"""ReFT: reinforced fine-tuning with PPO (paper section 3.2).

The policy answers problems by sampling programs; each program is run and its answer checked. A
right answer earns 1, a wrong number 0.1, anything else 0, at the last token; every token also pays
`kl_coef` times the log-ratio to the frozen reference, the policy that PPO started from. A value
head on the shared trunk predicts what is still to come; generalised advantage estimation turns
rewards and values into advantages, which are whitened over the whole batch; and the clipped PPO
loss moves policy and values, `updates_per_batch` times over the same batch. Dropout is off
throughout.

One iteration is the page below; which problems it asks, and how a run goes from one iteration to
the next, is told in `iterations`. Every rollout goes to the ledger on disk.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from reft_megatron.config import Config
from reft_megatron.errors import ConfigError
from reft_megatron.learner.losses import ppo_loss
from reft_megatron.policy import Policy
from reft_megatron.recipes.iterations import Iterations
from reft_megatron.recipes.ppo_metrics import update_metrics
from reft_megatron.recipes.ppo_targets import set_scores, set_targets
from reft_megatron.recipes.session import Session
from reft_megatron.rollouts.buffer import RolloutBuffer

__all__ = ["run"]

_FIELDS = ("mask", "weights", "old_logprobs", "old_values", "advantages", "returns")


def run(config: Config) -> dict[str, Any]:
    """Train, keep the best and the last checkpoint, return the summary."""
    _check_sampling(config)
    with Session(config, "ppo") as session:
        iterations = Iterations(session, config.ppo)
        policy = session.build(total_steps=iterations.steps)
        reference = _reference(session)
        first = session.start(policy) + 1
        return iterations.run(
            policy,
            first=first,
            iterate=lambda number: iterate(
                session, policy, reference=reference, iterations=iterations, number=number
            ),
        )


def iterate(
    session: Session,
    policy: Policy,
    *,
    reference: Policy | None,
    iterations: Iterations,
    number: int,
) -> None:
    """One PPO iteration: from problems to a better policy."""
    config, log, mesh = session.config, session.log, session.mesh

    # 1. Let the policy answer the next problems, and run the programs; every completion gets a
    #    reward.
    batch = iterations.sample(policy, number)
    buffer, metrics = batch.buffer, batch.metrics

    # 2. Spread the rollouts over the ranks.
    buffer.distribute(
        max_tokens=config.optimizer.micro_batch_tokens, multiple_of=session.batch_multiple
    )

    # 3. Score them: log-probs and values now, log-probs of the reference.
    with log.phase("score", buffer.num_tokens, "tokens") as phase:
        set_scores(buffer, policy, reference, layout=session.layout)
        phase.advance(buffer.num_tokens)

    # 4. Turn rewards and values into targets.
    metrics |= set_targets(buffer, config, mesh, version=policy.version)
    metrics["reward/total"] = metrics["reward/mean"] + metrics["reward/kl"]

    # 5. Keep them, with what is known of each token now; then mind whether it can be believed.
    iterations.keep(buffer, number)
    session.watch_mismatch(metrics["mismatch/ratio"], number)

    # 6. Move the policy towards them.
    if not config.rollouts.generate_only:
        metrics |= _update(session, policy, buffer, iterations=iterations, number=number)

    iterations.record(number, metrics)


def _update(
    session: Session, policy: Policy, buffer: RolloutBuffer, *, iterations: Iterations, number: int
) -> dict[str, float]:
    """`updates_per_batch` optimizer steps on the whole batch; metrics of the last."""
    config, rollouts = session.config.ppo, session.config.rollouts
    weighs = session.config.importance_cap > 0
    # What is weighed for an FP8 sampler's sake, unasked, is no leave to train on old rollouts.
    takes_old = weighs and rollouts.importance_cap != "auto"
    batches = buffer.for_ppo(
        (*_FIELDS, "importance") if weighs else _FIELDS,
        policy_version=policy.version,
        max_staleness=rollouts.max_staleness,
        beyond="mark" if takes_old else "refuse",
        **session.layout,
    )
    stats = iterations.update(
        policy,
        batches,
        loss=functools.partial(
            ppo_loss, clip_range=config.clip_range, value_coef=config.value_coef
        ),
        ids=[rollout.completion.problem_id for rollout in buffer.rollouts],
        tokens=buffer.num_tokens,
        number=number,
    )
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
