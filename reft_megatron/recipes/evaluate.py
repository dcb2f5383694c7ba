"""Evaluate: greedy top-1, and of many samples vote@k, rerank@k and pass@k.

Top-1 is one greedy completion a problem, judged by the same program checker that rewards training.
Of k samples, vote@k takes the most frequent answer (paper section 4.3): a completion without an
answer has no vote, answers within 0.01 are one, ties go to the answer seen first. With a reranker
(the recipe rerank) rerank@k takes the answer it trusts most, and weighted@k the answer whose
samples have most probability of being right together. pass@k is how likely k samples hold a right
one. The samples are drawn here at the training temperature, into a ledger of this run, or are those
that the recipe `sample` left in another; k is 1, 2, 4, ... up to their number.

All are means over all problems, with 95 % intervals by the bootstrap over problems: a prompt too
long to ask counts as wrong, and so does a completion that could not be judged. Whether one method
is better than another `reft-megatron compare` says, problem by problem.

The policy answers first; then it is gone, and the reranker takes its place. What can be wrong with
either, or with a ledger, is said before. A run that is killed goes on with the samples it has.

Leaves `completions.jsonl` (each problem with its greedy completion, verdict and reward),
`outcomes.json` (each figure's outcome of each problem), `ballots.parquet` (each sample with its
answer and score) and `summary.json` in the run's folder. The test split is for this recipe; nothing
is ever selected on it.
"""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reft_megatron.config import Config
from reft_megatron.errors import ConfigError, DataError
from reft_megatron.learner.statistics import area_under_curve, cross_entropy
from reft_megatron.log.page import Table
from reft_megatron.recipes.ballots import (
    Ballots,
    Poll,
    curves,
    read_ballots,
    stored_samples,
    write_ballots,
)
from reft_megatron.recipes.collection import ledger_at
from reft_megatron.recipes.evaluation_files import (
    figures_table,
    write_completions,
    write_outcomes,
)
from reft_megatron.recipes.greedy import Answer, greedy_answers
from reft_megatron.recipes.reranker import check_reranker, open_reranker, score_rollouts
from reft_megatron.recipes.room import check_length
from reft_megatron.recipes.sample import check_ledger, fill_ledger, problems_of
from reft_megatron.recipes.session import Session
from reft_megatron.rewards.statistics import Outcomes, bootstrap
from reft_megatron.rollouts.ledger import Ledger
from reft_megatron.types import Problem

__all__ = ["run"]

_BALLOTS = "ballots.parquet"
_BLOCK = 8192
"""Completions drawn before they are brought into the ledger and forgotten."""


def run(config: Config) -> dict[str, Any]:
    """Evaluate the weights of `model.load` or `model.hf` on a split and return the summary."""
    with Session(config, "evaluate") as session:
        problems = problems_of(session, config.evaluate)
        asked = session.answerer.fitting(problems)
        poll = _poll(session, problems, asked)
        reranker = _reranker(session, poll, asked)
        answers = _answers(session, problems, asked, poll=poll)
        # A policy's modules know each other, so that they go when the collector comes: now.
        gc.collect()
        margins = None
        if poll is not None and reranker is not None:
            scorer = open_reranker(session, reranker)
            margins = score_rollouts(session, scorer, poll.batches)
        told = None
        with session.mesh.world.together():
            if session.mesh.main:
                told = _tell(session, problems, answers, poll=poll, margins=margins, asked=asked)
        summary, metrics, table = session.mesh.world.broadcast_object(told)
        if reranker is not None:
            summary["reranker"] = {"checkpoint": str(reranker), **summary["reranker"]}
        session.log.record(0, {**metrics, **session.log.timings()})
        return session.finish(summary, tables=[table])


def _poll(session: Session, problems: Sequence[Problem], asked: Sequence[Problem]) -> Poll | None:
    """The samples that count, there already or to be drawn; None if there are to be none.

    Raises DataError for a ledger that lacks them, and ConfigError for one that is another run's.
    """
    settings, world = session.config.evaluate, session.mesh.world
    if not (settings.ledger or settings.samples):
        return None
    poll = Poll(
        ledger=ledger_at(session, settings.ledger),
        iterations=range(1, 1 + -(-len(asked) // _block(settings.samples))),
        problems=tuple(problem.id for problem in problems),
        samples=settings.samples,
    )
    if not settings.ledger:
        check_ledger(session)
        return poll
    stored: tuple[list[int], int] | None = None
    with world.together():
        if session.mesh.main:
            # Somebody may still be sampling into it: what is there now counts, for every rank.
            iterations = poll.ledger.iterations()
            _check_weights(session, poll.ledger, iterations)
            stored = iterations, stored_samples(poll.ledger, iterations, wanted=settings.samples)
            _read(session, _pinned(poll, stored), asked)
    return _pinned(poll, world.broadcast_object(stored))


def _pinned(poll: Poll, stored: tuple[list[int], int]) -> Poll:
    return dataclasses.replace(poll, iterations=stored[0], samples=stored[1])


def _block(samples: int) -> int:
    """Problems of a block of new samples."""
    return max(1, _BLOCK // max(1, samples))


def _check_weights(session: Session, ledger: Ledger, iterations: Sequence[int]) -> None:
    """DataError if the ledger's completions are told to be of other weights than are evaluated."""
    origins = filter(None, map(ledger.origin, iterations))
    if strange := {origin.weights for origin in origins} - {"", session.weights}:
        raise DataError(
            f"evaluate.ledger={session.config.evaluate.ledger} was sampled from other weights "
            f"({', '.join(sorted(strange))}) than are evaluated, those of "
            f"{session.origin or 'run.seed'} ({session.weights}): votes of one model would be told "
            "as another's. Name a ledger that was sampled from them."
        )


def _read(session: Session, poll: Poll, asked: Sequence[Problem]) -> Ballots:
    return read_ballots(
        poll,
        asked={problem.id for problem in asked},
        max_missing=session.config.rewards.max_fault_fraction,
    )


def _reranker(session: Session, poll: Poll | None, asked: Sequence[Problem]) -> Path | None:
    """The checkpoint of the reranker, found fit for what it is to read; None without one.

    Raises CheckpointError, ConfigError or DataError, as `check_reranker` and `check_length` do.
    """
    settings, world = session.config.evaluate, session.mesh.world
    if not settings.reranker:
        return None
    if poll is None:
        raise ConfigError(
            "evaluate.reranker has nothing to choose among: set evaluate.ledger to a ledger of the "
            "recipe sample, or evaluate.samples to the completions to draw of each problem."
        )
    # `latest` and `best` move on while their run does.
    folder = Path(settings.reranker)
    found = folder.parent / folder.readlink() if folder.is_symlink() else folder
    found = world.broadcast_object(found)
    architecture = check_reranker(session, found)
    longest = None
    with world.together():
        if session.mesh.main:
            longest = poll.longest() if settings.ledger else _longest(session, asked)
    name, tokens = world.broadcast_object(longest)
    check_length(architecture, session.config, tokens=tokens, problem=name)
    return found


def _longest(session: Session, asked: Sequence[Problem]) -> tuple[str, int]:
    """The problem with the longest prompt, and the tokens of that with the longest response."""
    lengths = {p.id: len(session.tokenizer.encode(session.task.prompt_text(p))) for p in asked}
    name = max(lengths, key=lengths.__getitem__)
    return name, lengths[name] + session.config.generate.max_new_tokens


def _answers(
    session: Session,
    problems: Sequence[Problem],
    asked: Sequence[Problem],
    *,
    poll: Poll | None,
) -> dict[str, Answer]:
    """What the policy says greedily; what `poll` wants of it besides goes into the ledger."""
    policy = session.build(total_steps=None)
    session.start_untrained(policy)
    answers = greedy_answers(session, policy, problems)
    if poll is not None and not session.config.evaluate.ledger:
        size = _block(poll.samples)
        for _ in fill_ledger(session, policy, asked, samples=poll.samples, batch_size=size):
            pass
    return answers


def _tell(
    session: Session,
    problems: Sequence[Problem],
    answers: Mapping[str, Answer],
    *,
    poll: Poll | None,
    margins: NDArray[np.float32] | None,
    asked: Sequence[Problem],
) -> tuple[dict[str, Any], dict[str, float], Table]:
    """Count, and leave the files; returns summary, metrics, and the table of figures."""
    folder, split = session.folder, session.config.evaluate.split
    right = {name for name, answer in answers.items() if answer.verdict.correct}
    outcomes: dict[str, Outcomes] = {"top-1": np.array([p.id in right for p in problems])}
    summary: dict[str, Any] = {"split": split, "num_problems": len(problems)}
    metrics: dict[str, float] = {}
    # Of an earlier start, with other settings.
    (folder / _BALLOTS).unlink(missing_ok=True)
    if poll is not None:
        ballots = _read(session, poll, asked)
        spread = None if margins is None else ballots.spread(margins)
        as_reference = session.task.parity == "reference"
        outcomes |= curves(ballots, margins=spread, as_reference=as_reference)
        summary |= {"samples": poll.samples, "missing": ballots.missing}
        write_ballots(folder / _BALLOTS, poll, margins)
        if margins is not None:
            summary["reranker"] = judged = _judged(ballots, margins)
            metrics |= {f"eval/rerank_{name}": n for name, n in judged.items() if n is not None}
    figures = bootstrap(outcomes)
    for name, figure in (("top1", "top-1"), *_headlines(poll, margins)):
        summary[name] = figures[figure].value
        metrics[f"eval/{split if name == 'top1' else name}_accuracy"] = summary[name]
    summary["checkpoint"] = session.origin
    summary["figures"] = {name: dataclasses.asdict(f) for name, f in figures.items()}
    write_completions(folder / "completions.jsonl", problems, answers)
    write_outcomes(folder / "outcomes.json", problems, outcomes)
    return summary, metrics, figures_table(summary, figures)


def _headlines(poll: Poll | None, margins: NDArray[np.float32] | None) -> list[tuple[str, str]]:
    """Figures over all samples that are told by a name of their own."""
    names = [] if poll is None else ["vote"] if margins is None else ["vote", "rerank", "weighted"]
    return [(name, f"{name}@{poll.samples}") for name in names if poll is not None]


def _judged(ballots: Ballots, margins: NDArray[np.float32]) -> dict[str, float | None]:
    """How well the reranker tells the samples apart: AUC (None if all are alike) and log-loss."""
    scores = torch.from_numpy(margins)
    labels = torch.from_numpy(ballots.right.reshape(-1)[ballots.places])
    mixed = 0 < int(labels.sum()) < len(labels)
    return {
        "auc": area_under_curve(scores=scores, labels=labels) if mixed else None,
        "loss": cross_entropy(margins=scores, labels=labels),
    }
