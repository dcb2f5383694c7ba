"""ReFT: reinforced fine-tuning with PPO (paper section 3.2).

The policy answers problems by sampling programs; each program is run and its answer checked. A right
answer earns 1, a wrong number 0.1, anything else 0, at the last token; every token also pays
`kl_coef` times the log-ratio to the frozen reference, the policy that PPO started from. A value head
on the shared trunk predicts what is still to come; generalised advantage estimation turns rewards
and values into advantages, which are whitened over the whole batch; and the clipped PPO loss moves
policy and values, `updates_per_batch` times over the same batch. Dropout is off throughout.

One iteration is the page below. Problems come from an endless stream of shuffled epochs and
samples from noise keyed by (seed, iteration, problem), so the iteration number is all the state
there is beside weights and optimizer. Every rollout goes to the ledger on disk.
"""

from __future__ import annotations

import functools
from typing import Any

from reft_megatron.config import Config
from reft_megatron.learner.losses import ppo_loss
from reft_megatron.policy import Policy, StepStats
from reft_megatron.recipes.answering import Answerer
from reft_megatron.recipes.evaluate import top1
from reft_megatron.recipes.order import take
from reft_megatron.recipes.ppo_metrics import rollout_metrics, update_metrics
from reft_megatron.recipes.ppo_targets import set_scores, set_targets
from reft_megatron.recipes.session import Session, due
from reft_megatron.rollouts.buffer import RolloutBuffer
from reft_megatron.rollouts.ledger import Ledger

__all__ = ["run"]

_FIELDS = ("mask", "weights", "old_logprobs", "old_values", "advantages", "returns")


def run(config: Config) -> dict[str, Any]:
    """Train, keep the best and the last checkpoint, return the summary."""
    with Session(config, "ppo") as session, session.answerer() as answerer:
        settings = config.ppo
        steps = settings.iterations * settings.updates_per_batch
        policy = Policy(config, session.mesh, session.tokenizer, total_steps=steps)
        reference = session.reference()
        first = session.start(policy)
        ledger = Ledger(session.folder / "ledger")
        if session.mesh.main:
            ledger.drop_from(first + 1)
        session.mesh.world.barrier()
        for iteration in range(first + 1, settings.iterations + 1):
            iterate(session, answerer, policy, reference, ledger, iteration)
            _after_iteration(session, answerer, policy, iteration)
            if session.stopping():
                return session.interrupted(policy, iteration)
        return session.finish(
            {"iterations": settings.iterations, "steps": policy.version, "best_dev": session.best}
        )


def iterate(
    session: Session,
    answerer: Answerer,
    policy: Policy,
    reference: Policy | None,
    ledger: Ledger,
    iteration: int,
) -> None:
    """One PPO iteration: from problems to a better policy."""
    config, log, mesh = session.config, session.log, session.mesh
    size, seed = config.ppo.batch_size, config.run.seed
    sampling = answerer.sampling(seed * 1_000_003 + iteration)
    buffer = RolloutBuffer(mesh, pad_id=session.tokenizer.pad_id)

    # 1. Take the next problems.
    train = session.task.problems("train")
    problems = take(train, start=(iteration - 1) * size, count=size, seed=seed)

    # 2. Let the policy answer them.
    samples = config.ppo.samples_per_problem
    with log.phase("generate", None, "tokens") as phase:
        completions = answerer.complete(
            policy, problems, samples=samples, sampling=sampling, advance=phase.advance
        )

    # 3. Run the programs; every completion gets a verdict and a reward.
    with log.phase("reward", None, "completions"):
        answers = answerer.judge(
            completions, problems, version=policy.version, seed=sampling.seed
        )

    # 4. Keep the rollouts, on disk and spread over the ranks.
    if answers.rollouts is not None:
        ledger.append(iteration, mesh.data.rank, answers.rollouts)
    buffer.fill(answers.rollouts)
    metrics = rollout_metrics(buffer.rollouts, answers.faults)
    ids = [rollout.completion.problem_id for rollout in buffer.rollouts]
    buffer.distribute(
        max_tokens=config.optimizer.micro_batch_tokens, multiple_of=session.batch_multiple
    )
    if mesh.main:
        ledger.seal(iteration, data_size=mesh.data.size)

    # 5. Score them: log-probs and values now, log-probs of the reference.
    with log.phase("score", None, "tokens") as phase:
        set_scores(buffer, policy, reference, session.layout)
        phase.advance(buffer.num_tokens)

    # 6. Turn rewards and values into targets.
    metrics |= set_targets(buffer, config.ppo, mesh)

    # 7. Move the policy towards them.
    loss = functools.partial(
        ppo_loss, clip_range=config.ppo.clip_range, value_coef=config.ppo.value_coef
    )
    with log.phase("update", None, "tokens") as phase:
        batches = buffer.micro_batches(_FIELDS, **session.layout)
        for _ in range(config.ppo.updates_per_batch):
            stats = policy.update(batches, loss=loss)
            session.count_skip(stats, iteration, ids)
            phase.advance(buffer.num_tokens)

    log.record(iteration, metrics | update_metrics(stats, session.skipped, answerer.dropped))


def _after_iteration(
    session: Session, answerer: Answerer, policy: Policy, iteration: int
) -> None:
    """Evaluate, save and show, when due."""
    config, total = session.config, session.config.ppo.iterations
    improved = False
    if due(iteration, config.ppo.evaluate_every, total):
        accuracy = top1(session, answerer, policy, session.task.problems("dev"))
        session.log.record(iteration, {"eval/dev_accuracy": accuracy})
        improved = session.is_best(accuracy)
    if improved or due(iteration, config.checkpoint.every, total):
        session.save(policy, iteration, best=improved)
    session.log.record(iteration, session.log.timings())
    session.log.table(iteration, total)
