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

from collections.abc import Sequence
from typing import Any

from reft_megatron.config import Config
from reft_megatron.errors import ConfigError
from reft_megatron.policy import Policy
from reft_megatron.recipes.collection import Collection, began, ledger_at
from reft_megatron.recipes.continuation import changed_since
from reft_megatron.recipes.evaluate import problems_of
from reft_megatron.recipes.ppo_metrics import rollout_metrics
from reft_megatron.recipes.selection import due
from reft_megatron.recipes.session import Session
from reft_megatron.rollouts.buffer import RolloutBuffer
from reft_megatron.types import Problem

__all__ = ["run"]


def run(config: Config) -> dict[str, Any]:
    """Fill the ledger with completions of `model.load` or `model.hf` and return the summary."""
    with Session(config, "sample") as session:
        settings = config.sample
        problems = problems_of(session, settings)
        asked = session.answerer.fitting(problems)
        starts = range(0, len(asked), settings.batch_size)
        blocks = [asked[start : start + settings.batch_size] for start in starts]
        _check_ledger(session)
        policy = session.build(total_steps=None)
        session.start_untrained(policy)
        collection = Collection(session, first=1, last=len(blocks))
        kept = right = 0
        for number, block in enumerate(blocks, start=1):
            count, correct = _fill(session, policy, collection, block=block, number=number)
            kept, right = kept + count, right + correct
            if due(number, config.log.table_every, len(blocks)):
                session.log.table(number, total=len(blocks))
        wanted = len(asked) * settings.samples_per_problem
        return session.finish(
            {
                "split": settings.split,
                "num_problems": len(problems),
                "left_out": len(problems) - len(asked),
                "samples": settings.samples_per_problem,
                "rollouts": kept,
                "faults": wanted - kept,
                "accuracy": right / kept,
                "checkpoint": session.origin,
            }
        )


def _fill(
    session: Session,
    policy: Policy,
    collection: Collection,
    *,
    block: Sequence[Problem],
    number: int,
) -> tuple[int, int]:
    """Bring one block into the ledger, unless it is there; (rollouts, right ones) of it."""
    config = session.config
    samples = config.sample.samples_per_problem
    rollouts = collection.collect(
        policy,
        block,
        samples=samples,
        sampling=session.answerer.sampling(config.run.seed),
        iteration=number,
    )
    buffer = RolloutBuffer(session.mesh, pad_id=session.tokenizer.pad_id)
    buffer.fill(rollouts)
    count = buffer.num_sequences
    metrics = rollout_metrics(buffer.rollouts, asked=len(block) * samples)
    right = sum(rollout.verdict.correct for rollout in buffer.rollouts)
    # Nothing is trained, so any micro-batch will do.
    buffer.distribute(max_tokens=buffer.num_tokens)
    collection.keep(buffer, number)
    session.log.record(number, {**metrics, **session.log.timings()})
    return count, right


def _check_ledger(session: Session) -> None:
    """ConfigError, on every rank, unless what is in the ledger is an earlier part of this run."""
    config = session.config
    if config.rollouts.replay:
        raise ConfigError("sample asks a policy: it has no use for rollouts.replay.")
    with session.mesh.world.together():
        ledger = ledger_at(session)
        held = ledger.iterations() if session.mesh.main else []
        if not held:
            return
        changed = changed_since(session.folder, config)
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
