"""Sample: many judged completions of each problem of a split, kept in a ledger.

What a majority votes over, what a reranker learns from and chooses among (paper section 4.3, 100
completions a problem), and what offline self-training learns from is one and the same thing: many
answers of one policy to every problem. This recipe makes it once, and others read it: `evaluate`
counts its votes, `rollouts.views` chooses what to learn from, `reft-megatron rollouts` shows it.

Problems come in blocks, in the order of the split, and a block is an iteration of the ledger: it is
generated, judged meanwhile, and sealed. A run that is killed goes on with the block at hand, of
which the journal holds what was judged, and leaves the same completions. For noise is keyed by
(seed, problem, sample) and the seed is the run's: neither blocks nor layout nor a kill change what
a completion says, only the last digits of the sampler's log-probs, where sums are rounded in other
company. `evaluate` under the same seed and settings draws the same ones too.

A problem whose prompt is too long is not asked, and a completion that could not be judged is not
kept; `summary.json` counts both. A ledger that this run, with these settings, did not begin is
refused rather than replaced: samples are dear.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from reft_megatron.config import Config, EvaluateConfig, SampleConfig
from reft_megatron.errors import ConfigError, DataError
from reft_megatron.policy import Policy
from reft_megatron.recipes.collection import Collection, began, ledger_at
from reft_megatron.recipes.continuation import changed_since
from reft_megatron.recipes.ppo_metrics import rollout_metrics
from reft_megatron.recipes.selection import due
from reft_megatron.recipes.session import Session
from reft_megatron.rollouts.buffer import RolloutBuffer
from reft_megatron.types import Problem

__all__ = ["Block", "check_ledger", "fill_ledger", "problems_of", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block of problems, once the ledger has it."""

    number: int
    """Its iteration, from 1."""
    total: int
    """How many blocks there are."""
    rollouts: int
    """Completions kept."""
    right: int
    """The right ones of them."""
    metrics: dict[str, float]
    """What is logged of them."""


def run(config: Config) -> dict[str, Any]:
    """Fill the ledger with completions of `model.load` or `model.hf` and return the summary."""
    with Session(config, "sample") as session:
        settings = config.sample
        samples = settings.samples_per_problem
        problems = problems_of(session, settings)
        asked = session.answerer.fitting(problems)
        check_ledger(session)
        policy = session.build(total_steps=None)
        session.start_untrained(policy)
        kept = right = 0
        blocks = fill_ledger(
            session, policy, asked, samples=samples, batch_size=settings.batch_size
        )
        for block in blocks:
            kept, right = kept + block.rollouts, right + block.right
            session.log.record(block.number, {**block.metrics, **session.log.timings()})
            if due(block.number, config.log.table_every, block.total):
                session.log.table(block.number, total=block.total)
        return session.finish(
            {
                "split": settings.split,
                "num_problems": len(problems),
                "left_out": len(problems) - len(asked),
                "samples": samples,
                "rollouts": kept,
                "faults": len(asked) * samples - kept,
                "accuracy": right / kept,
                "checkpoint": session.origin,
            }
        )


def problems_of(session: Session, settings: EvaluateConfig | SampleConfig) -> Sequence[Problem]:
    """The problems that a recipe which trains nothing is about; DataError if there are none."""
    split, problems = settings.split, session.task.problems(settings.split)
    if not problems:
        raise DataError(
            f"task {session.task.name} has no {split} problems to {session.recipe} on: raise "
            f"task.{split}_size, or choose another {session.recipe}.split."
        )
    return problems[: settings.max_problems or None]


def fill_ledger(
    session: Session,
    policy: Policy,
    asked: Sequence[Problem],
    *,
    samples: int,
    batch_size: int,
) -> Iterator[Block]:
    """Bring `samples` completions of each problem into the run's ledger, block by block.

    A block that is there already is read. Every rank takes all blocks.
    """
    starts = range(0, len(asked), batch_size)
    collection = Collection(session, first=1, last=len(starts))
    for number, start in enumerate(starts, start=1):
        block = asked[start : start + batch_size]
        rollouts = collection.collect(
            policy,
            block,
            samples=samples,
            sampling=session.answerer.sampling(session.config.run.seed),
            iteration=number,
        )
        buffer = RolloutBuffer(session.mesh, pad_id=session.tokenizer.pad_id)
        buffer.fill(rollouts)
        filled = Block(
            number=number,
            total=len(starts),
            rollouts=buffer.num_sequences,
            right=sum(rollout.verdict.correct for rollout in buffer.rollouts),
            metrics=rollout_metrics(buffer.rollouts, asked=len(block) * samples),
        )
        # Nothing is trained, so any micro-batch will do.
        buffer.distribute(max_tokens=buffer.num_tokens)
        collection.keep(buffer, number)
        yield filled


def check_ledger(session: Session) -> None:
    """ConfigError, on every rank, unless what is in the ledger is an earlier part of this run."""
    config = session.config
    if config.rollouts.replay:
        raise ConfigError(f"{session.recipe} asks a policy: it has no use for rollouts.replay.")
    ledger = ledger_at(session)
    with session.mesh.world.together():
        held = ledger.iterations() if session.mesh.main else []
        if not held:
            return
        changed = changed_since(session.folder, config, recipe=session.recipe)
        if changed is None or not (changed or began(session, ledger)):
            why = "another run began it"
        elif changed:
            why = f"it has other settings: {'; '.join(changed)}"
        elif not config.run.resume:
            why = "run.resume is false"
        else:
            return
        raise ConfigError(
            f"the ledger of {session.folder} has {len(held)} iterations already, and this run "
            f"cannot go on with them, for {why}. Choose another run.name, or rollouts.record."
        )
