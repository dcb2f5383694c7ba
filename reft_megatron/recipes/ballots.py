"""Ballots: what the samples of each problem answered, and what k of them give.

Owns the two ways to them, from rollouts just sampled and from a ledger that the recipe `sample`
filled, with what is refused of a ledger; and the curves over k. A sample that is missing, since its
prompt was too long or it could not be judged, is a ballot without an answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from reft_megatron.errors import DataError
from reft_megatron.rewards import majority
from reft_megatron.rewards.statistics import Outcomes, doublings, pass_at
from reft_megatron.rollouts.ledger import Ledger
from reft_megatron.types import Problem, Reason, Rollout, Verdict

__all__ = ["Ballots", "curves", "sampled_ballots", "stored_ballots"]

Ballots = list[list[Verdict]]
"""Of each problem, in order, the verdicts of its samples 0, 1, ..., as many of each."""

_MISSING = Verdict(reason=Reason.EXECUTOR_FAULT)
_COLUMNS = ("problem_id", "sample", "policy_version", "seed", "reason", "value", "letter")


def sampled_ballots(
    rollouts: Iterable[Rollout], problems: Sequence[Problem], *, samples: int
) -> Ballots:
    """Ballots of rollouts of these problems, in any order; of each at most `samples`."""
    verdicts = {(r.completion.problem_id, r.completion.sample): r.verdict for r in rollouts}
    return _laid_out(verdicts, problems, samples)


def stored_ballots(
    ledger: Ledger,
    problems: Sequence[Problem],
    *,
    asked: Collection[str],
    samples: int,
    max_missing: float,
) -> Ballots:
    """Ballots of the first `samples` (0: all) completions that a ledger holds of each problem.

    Raises DataError if it has fewer; if they are of more than one policy or seed; and if more than
    the share `max_missing` is missing of those of the problems with an id in `asked`, which are
    the ones with room: the ledger is then of other problems, or of a run that did not end.
    """
    found = _read(ledger)
    stored = max(found["sample"], default=-1) + 1
    if not stored or samples > stored:
        raise DataError(
            f"evaluate.ledger has {stored} samples a problem, and evaluate.samples is {samples}. "
            "Name the ledger of a run of the recipe sample, with as many samples."
        )
    if len(sources := {*zip(found["policy_version"], found["seed"], strict=True)}) > 1:
        raise DataError(
            f"evaluate.ledger has samples of {len(sources)} policies or seeds, as training leaves "
            "them. Name the ledger of a run of the recipe sample."
        )
    samples = samples or stored
    keys = zip(found["problem_id"], found["sample"], strict=True)
    answers = zip(found["reason"], found["value"], found["letter"], strict=True)
    verdicts = dict(zip(keys, itertools.starmap(_verdict, answers), strict=True))
    wanted = [(p.id, sample) for p in problems if p.id in asked for sample in range(samples)]
    missing = [key for key in wanted if key not in verdicts]
    if len(missing) > max_missing * len(wanted):
        raise DataError(
            f"evaluate.ledger lacks {len(missing)} of {len(wanted)} completions, sample "
            f"{missing[0][1]} of {missing[0][0]} first. Name one of this split, and let its run "
            "end."
        )
    return _laid_out(verdicts, problems, samples)


def curves(ballots: Ballots, *, exact: bool = False) -> dict[str, Outcomes]:
    """`vote@k` and `pass@k` for k = 1, 2, 4, ..., each with an outcome in 0..1 per problem, [N].

    The vote is over the first k samples, of the same floats if `exact` (`majority`). pass@k counts
    all samples: it is what k of them, drawn at random, would give.
    """
    samples = len(ballots[0])
    right = np.array([[verdict.correct for verdict in verdicts] for verdicts in ballots])
    found: dict[str, Outcomes] = {}
    for k in doublings(samples):
        found[f"vote@{k}"] = np.array([_elects_right(v[:k], exact=exact) for v in ballots])
    for k in doublings(samples):
        found[f"pass@{k}"] = pass_at(k, right.sum(axis=1), samples=samples)
    return found


def _elects_right(verdicts: Sequence[Verdict], *, exact: bool) -> bool:
    """True if the most frequent answer is right; the first seen has its verdict."""
    winner = majority([verdict.value for verdict in verdicts], exact=exact)
    return winner is not None and verdicts[winner].correct


def _laid_out(
    verdicts: Mapping[tuple[str, int], Verdict], problems: Sequence[Problem], samples: int
) -> Ballots:
    return [[verdicts.get((p.id, n), _MISSING) for n in range(samples)] for p in problems]


def _read(ledger: Ledger) -> dict[str, list[Any]]:
    """The columns that count, over the whole ledger."""
    found: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for batch in ledger.batches(_COLUMNS):
        for name in _COLUMNS:
            found[name] += batch[name].to_pylist()
    return found


def _verdict(reason: str, value: float | None, letter: str | None) -> Verdict:
    return Verdict(reason=Reason(reason), value=value if letter is None else letter)
