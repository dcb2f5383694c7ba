"""Ballots: what the samples of each problem answered, and what k of them give.

Owns which completions of a ledger count and what is refused of one; the curves over k; and the file
of all ballots that an evaluation leaves. A sample that is missing, since its prompt was too long or
it could not be judged, is a ballot without an answer.

Legend: N problems, S samples of each, R completions that count.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reft_megatron.errors import DataError
from reft_megatron.files import drafting
from reft_megatron.learner.statistics import probabilities, reference_scores
from reft_megatron.rewards import majority, reranked, weighted_majority
from reft_megatron.rewards.statistics import Outcomes, doublings, pass_at
from reft_megatron.rollouts.disk import refused
from reft_megatron.rollouts.ledger import Ledger
from reft_megatron.types import Reason, Verdict

__all__ = [
    "BALLOTS",
    "Ballots",
    "Poll",
    "curves",
    "read_ballots",
    "stored_samples",
    "write_ballots",
]

BALLOTS = pa.schema(
    [
        pa.field("problem_id", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("letter", pa.string()),
        pa.field("right", pa.bool_(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("score", pa.float32()),
    ]
)
"""Columns of the file of ballots, a row for each completion that counts.

The extracted answer is a `value` (number) or a `letter`, or neither: a reward of the user's may
give either in one task. `score` is the reranker's margin, whose logistic is the probability of
being right; null without a reranker."""
_MISSING = Verdict(reason=Reason.EXECUTOR_FAULT)
_ANSWERS = ("problem_id", "sample", "reason", "value", "letter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """The completions of a ledger that count: samples 0 to S - 1 of each problem."""

    ledger: Ledger
    """Where they are."""
    iterations: Sequence[int]
    """In which iterations of it; those that others add meanwhile do not count."""
    problems: tuple[str, ...]
    """Ids, in the order of the split, [N]."""
    samples: int
    """S."""

    def scan(self, columns: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(iteration, rows that count), in the order of the ledger, which is always the same."""
        wanted = pa.array(self.problems, pa.string())
        read = dict.fromkeys(("problem_id", "sample", *columns))
        for iteration, batch in self.ledger.scan([*read], iterations=self.iterations):
            counts = pc.and_(
                pc.is_in(batch["problem_id"], value_set=wanted),
                pc.less(batch["sample"], self.samples),
            )
            yield iteration, batch.filter(counts).select(list(columns))

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The same without iterations: a source as `rollouts.views` reads it."""
        for _, batch in self.scan(columns):
            yield batch

    def longest(self) -> tuple[str, int]:
        """The problem with the longest completion, and the tokens of that with its prompt."""
        found = ("", 0)
        for batch in self.batches(("problem_id", "prompt_ids", "token_ids")):
            lengths = [pc.list_value_length(batch[name]) for name in ("prompt_ids", "token_ids")]
            tokens = pc.add(*lengths).to_numpy()
            if len(tokens) and tokens.max() > found[1]:
                found = (batch["problem_id"][int(tokens.argmax())].as_py(), int(tokens.max()))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballots:
    """What the completions of a poll answered."""

    verdicts: list[list[Verdict]]
    """[N][S], of each problem in order, of samples 0, 1, ..."""
    places: NDArray[np.int64]
    """[R], problem * S + sample of each completion, in the order of the poll."""

    @property
    def missing(self) -> int:
        """Samples that are not there."""
        return len(self.verdicts) * len(self.verdicts[0]) - len(self.places)

    @property
    def right(self) -> NDArray[np.bool_]:
        """[N, S], True for a right one."""
        return np.array([[v.correct for v in verdicts] for verdicts in self.verdicts])

    def spread(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """`scores` [R] of the poll as [N, S]; NaN for a missing sample, which is never chosen."""
        found = np.full(self.right.shape, np.nan, np.float32)
        found.reshape(-1)[self.places] = scores
        return found


def stored_samples(ledger: Ledger, iterations: Sequence[int], *, wanted: int) -> int:
    """How many samples of these iterations count: `wanted`, or all of them for 0.

    Raises DataError if it has fewer, or if they are of more than one policy or seed.
    """
    stored, sources = 0, set()
    columns = ("sample", "policy_version", "seed")
    for _, batch in ledger.scan(columns, iterations=iterations):
        numbers, versions, seeds = (column.to_pylist() for column in batch)
        stored = max([stored, *(number + 1 for number in numbers)])
        sources |= {*zip(versions, seeds, strict=True)}
    if not stored or wanted > stored:
        raise DataError(
            f"evaluate.ledger has {stored} samples a problem, and evaluate.samples is {wanted}. "
            "Name the ledger of a run of the recipe sample, with as many samples."
        )
    if len(sources) > 1:
        raise DataError(
            f"evaluate.ledger has samples of {len(sources)} policies or seeds, as training leaves "
            "them. Name the ledger of a run of the recipe sample."
        )
    return wanted or stored


def read_ballots(poll: Poll, *, asked: Collection[str], max_missing: float) -> Ballots:
    """The ballots of a poll.

    Raises DataError if a completion is there twice; and if more than the share `max_missing` is
    missing of those of the problems with an id in `asked`, which are the ones with room: the ledger
    is then of other problems, or of a run that did not end.
    """
    samples = poll.samples
    verdicts = [[_MISSING] * samples for _ in poll.problems]
    numbers = {name: number for number, name in enumerate(poll.problems)}
    places = []
    for batch in poll.batches(_ANSWERS):
        columns = (batch[name].to_pylist() for name in _ANSWERS)
        for name, sample, reason, value, letter in zip(*columns, strict=True):
            number = numbers[name]
            places.append(number * samples + sample)
            verdicts[number][sample] = Verdict(
                reason=Reason(reason), value=value if letter is None else letter
            )
    found = np.array(places, np.int64)
    _check_once(found, poll)
    fitting = [number for name, number in numbers.items() if name in asked]
    wanted = [number * samples + sample for number in fitting for sample in range(samples)]
    missing = np.setdiff1d(wanted, found)
    if len(missing) > max_missing * len(wanted):
        problem, sample = divmod(int(missing[0]), samples)
        raise DataError(
            f"evaluate.ledger lacks {len(missing)} of {len(wanted)} completions, sample {sample} "
            f"of {poll.problems[problem]} first. Name one of this split, and let its run end."
        )
    return Ballots(verdicts=verdicts, places=found)


def curves(
    ballots: Ballots, *, margins: NDArray[np.float32] | None = None, as_reference: bool = False
) -> dict[str, Outcomes]:
    """Figures for k = 1, 2, 4, ..., each with an outcome in 0..1 per problem, [N].

    `vote@k` is the most frequent answer of the first k samples. With a reranker's `margins` [N, S]
    `rerank@k` is the best-scored of their answers, and `weighted@k` the answer whose samples have
    most probability of being right together. `pass@k` counts all samples: it is what k of them,
    drawn at random, would give.

    `as_reference` votes by raw floats and reranks by `reference_scores`, which tie.
    """
    right = ballots.right
    ks = doublings(right.shape[1])
    values = [[verdict.value for verdict in verdicts] for verdicts in ballots.verdicts]
    choices: dict[str, Callable[[int, int], int | None]] = {
        "vote": lambda n, k: majority(values[n][:k], exact=as_reference)
    }
    if margins is not None:
        weights = probabilities(margins)
        scores = reference_scores(margins) if as_reference else margins
        choices["rerank"] = lambda n, k: reranked(values[n][:k], scores[n, :k].tolist())
        choices["weighted"] = lambda n, k: weighted_majority(values[n][:k], weights[n, :k].tolist())
    found: dict[str, Outcomes] = {}
    for what, choose in choices.items():
        for k in ks:
            chosen = (choose(n, k) for n in range(len(values)))
            found[f"{what}@{k}"] = np.array(
                [i is not None and right[n, i] for n, i in enumerate(chosen)]
            )
    for k in ks:
        found[f"pass@{k}"] = pass_at(k, right.sum(axis=1), samples=right.shape[1])
    return found


def write_ballots(path: Path, poll: Poll, margins: NDArray[np.float32] | None) -> None:
    """Write the poll to `path` as Parquet with the columns `BALLOTS`.

    `margins` [R] are the reranker's. Rows are ordered by problem, as in the split, and sample,
    within an iteration of the ledger, of which one at a time is in memory. Raises DataError if the
    disk refuses.
    """
    columns = (*_ANSWERS, "text")
    numbers = {name: number for number, name in enumerate(poll.problems)}
    start = 0
    with refused(path), drafting(path) as draft, pq.ParquetWriter(draft, BALLOTS) as writer:
        for _, parts in itertools.groupby(poll.scan(columns), key=lambda found: found[0]):
            table = pa.Table.from_batches([batch for _, batch in parts])
            end = start + table.num_rows
            found = {
                **{name: table[name] for name in columns},
                "right": pc.equal(table["reason"], Reason.CORRECT.value),
                "score": pa.nulls(len(table)) if margins is None else pa.array(margins[start:end]),
            }
            rows = pa.table(
                [found[field.name].cast(field.type) for field in BALLOTS], schema=BALLOTS
            )
            places = [numbers[name] for name in table["problem_id"].to_pylist()]
            writer.write_table(rows.take(np.lexsort((table["sample"].to_numpy(), places))))
            start = end


def _check_once(places: NDArray[np.int64], poll: Poll) -> None:
    ordered = np.sort(places)
    if (twice := ordered[1:][np.diff(ordered) == 0]).size:
        problem, sample = divmod(int(twice[0]), poll.samples)
        raise DataError(
            f"evaluate.ledger has {len(twice)} completions more than once, sample {sample} of "
            f"{poll.problems[problem]} first, so that nobody knows which counts. Name the ledger "
            "of one run of the recipe sample."
        )
