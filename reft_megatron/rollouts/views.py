"""Views: what self-training and reranking learn from, among all rollouts.

Owns which rollouts count, and their order, which depends on the rollouts alone and not on which
data rank wrote them. A source is read twice, a little at a time: once for ids, verdicts and texts,
of which some 50 bytes a rollout stay in memory; once for the tokens of those chosen, which go to a
`TokenStore`. Sources are `Ledger.batches` of any run, and `RolloutBuffer.batches` of this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from reft_megatron.errors import DataError
from reft_megatron.rollouts.store import TokenStore
from reft_megatron.rollouts.training_set import TrainingSet
from reft_megatron.types import Reason

__all__ = ["Source", "correct", "every", "labelled", "normalised"]

Source = Callable[[Sequence[str]], Iterator[pa.RecordBatch]]
"""Some columns of the ledger, all rows, the same ones in the same order at every call."""

_IDS = ("problem_id", "sample", "policy_version", "seed", "finished", "reason", "text")
_TOKENS = {"prompt_ids": np.int32, "token_ids": np.int32}
_ENTRY = np.dtype(
    [
        ("row", np.int64),
        ("problem", np.int32),
        ("sample", np.int32),
        ("version", np.int64),
        ("seed", np.int64),
        ("text", np.uint64),
        ("right", np.bool_),
        ("finished", np.bool_),
    ]
)
"""What is remembered of a rollout; `text` is a hash."""

_AGE = ("row", "seed", "sample", "version")
"""Which of two rollouts of a problem is the earlier; the last name counts most."""

Entries = NDArray[np.void]


def normalised(text: str) -> str:
    """A completion without blank lines and trailing blanks: what makes two of them the same."""
    lines = (line.rstrip() for line in text.strip().splitlines())
    return "\n".join(line for line in lines if line)


def correct(
    source: Source,
    *,
    unique: bool,
    spelling: Callable[[str], str] = normalised,
    gold: Mapping[str, str] | None = None,
    per_problem: int | None = None,
    pick: Literal["random", "first"] = "random",
    seed: int = 0,
    memory_mb: float = 256,
    folder: str | Path | None = None,
) -> TrainingSet:
    """The right rollouts, for self-training (offline and online).

    With `unique` one of each text of a problem; with `gold`, texts by problem id, none that says
    the same as that of its problem. Texts say the same if their `spelling` is equal. At most
    `per_problem` of a problem: those that a hash keyed by `seed` puts first, so that the choice is
    random and always the same, or the `first` samples. Closing the set frees its `memory_mb`
    (10^6 bytes) and what it spilled to `folder`.
    """
    index = _Index(source, only_right=True, salt=seed, spelling=spelling)
    left_out = {"wrong": index.rows - len(index.entries), **index.drop_repeated()}
    if gold is not None:
        left_out |= index.drop_gold(gold)
    if unique:
        left_out |= index.drop_same_text()
    if per_problem is not None:
        left_out |= index.keep_some(per_problem, drawn=pick == "random")
    return index.load(left_out, labelled=False, memory_mb=memory_mb, folder=folder)


def labelled(
    source: Source,
    *,
    unique: bool,
    memory_mb: float = 256,
    folder: str | Path | None = None,
) -> TrainingSet:
    """Every rollout with its label, right or wrong, for a reranker.

    With `unique` one of each `normalised` text of a problem. Raises DataError if all are right or
    all are wrong, from which nothing can be learnt.
    """
    index = _Index(source, only_right=False)
    left_out = index.drop_repeated()
    if unique:
        left_out |= index.drop_same_text()
    right = int(index.entries["right"].sum())
    if right in (0, len(index.entries)):
        raise DataError(
            f"of {len(index.entries)} rollouts {right} are right: a reranker learns from right and "
            "wrong ones. Sample more, or from an earlier checkpoint."
        )
    return index.load(left_out, labelled=True, memory_mb=memory_mb, folder=folder)


def every(
    source: Source, *, memory_mb: float = 256, folder: str | Path | None = None
) -> TrainingSet:
    """Every rollout with its label, in the order of the source: what a reranker scores."""
    index = _Index(source, only_right=False)
    return index.load({}, labelled=True, ordered=False, memory_mb=memory_mb, folder=folder)


class _Index:
    """Ids, verdicts and hashes of texts of a source's rows."""

    def __init__(
        self,
        source: Source,
        *,
        only_right: bool,
        salt: int = 0,
        spelling: Callable[[str], str] = normalised,
    ) -> None:
        self._source, self._salt, self._spelling = source, salt, spelling
        self._problems: dict[str, int] = {}
        self.rows = 0
        parts = [np.zeros(0, _ENTRY)]
        for batch in source(_IDS):
            parts.append(self._entries_of(batch, only_right))
            self.rows += batch.num_rows
        self.entries: Entries = np.concatenate(parts)

    def drop_repeated(self) -> dict[str, int]:
        """Keep one of each (problem, sample, seed, policy version): a rollout recorded twice."""
        return {"recorded twice": self._keep_one_of("problem", "sample", "seed", "version")}

    def drop_same_text(self) -> dict[str, int]:
        """Keep the earliest of each text of a problem."""
        return {"same text": self._keep_one_of("problem", "text")}

    def drop_gold(self, gold: Mapping[str, str]) -> dict[str, int]:
        """Drop what says the same as the text in `gold` of its problem."""
        hashes = np.zeros(len(self._problems), np.uint64)
        known = np.zeros(len(self._problems), np.bool_)
        for name, problem in self._problems.items():
            if name in gold:
                hashes[problem], known[problem] = self._hash(gold[name]), True
        problems = self.entries["problem"]
        same = known[problems] & (self.entries["text"] == hashes[problems])
        self.entries = self.entries[~same]
        return {"same as gold": int(same.sum())}

    def keep_some(self, count: int, *, drawn: bool) -> dict[str, int]:
        """Keep `count` of each problem, `drawn` by a hash of text and sample, or the earliest."""
        entries = self.entries
        draw = entries["text"] ^ _scramble(entries["sample"]) ^ _scramble(entries["version"] << 32)
        age = tuple(entries[name] for name in _AGE)
        order = np.lexsort((*((draw,) if drawn else age), entries["problem"]))
        problems = entries["problem"][order]
        starts = np.flatnonzero(np.diff(problems, prepend=-1))
        place = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
        self.entries = entries[np.sort(order[place < count])]
        return {"more of a problem": len(entries) - len(self.entries)}

    def load(
        self,
        left_out: dict[str, int],
        *,
        labelled: bool,
        ordered: bool = True,
        memory_mb: float,
        folder: str | Path | None,
    ) -> TrainingSet:
        """Read the tokens of the entries, `ordered` by problem and age or as they come."""
        entries = self.entries[np.argsort(self.entries["row"])]
        wanted = np.zeros(self.rows, np.bool_)
        wanted[entries["row"]] = True
        store = TokenStore(_TOKENS, memory_mb=memory_mb, folder=folder)
        start = 0
        for batch in self._source([*_TOKENS]):
            store.append(batch.filter(pa.array(wanted[start : start + batch.num_rows])))
            start += batch.num_rows
        if start != self.rows:
            raise DataError(f"{self.rows} rollouts became {start} while they were read; try again.")
        names = sorted(self._problems)
        rank = np.empty(len(names), np.int32)
        rank[[self._problems[name] for name in names]] = np.arange(len(names))
        problems = rank[entries["problem"]]
        keys = (entries["seed"], entries["sample"], entries["version"], problems)
        order = np.lexsort(keys) if ordered else np.arange(len(entries))
        return TrainingSet(
            store,
            rows=order,
            labels=entries["right"][order] if labelled else None,
            finished=entries["finished"][order],
            problems=problems[order],
            names=names,
            left_out=left_out,
        )

    def _entries_of(self, batch: pa.RecordBatch, only_right: bool) -> Entries:
        right = pc.equal(batch["reason"], Reason.CORRECT.value).to_numpy(zero_copy_only=False)
        chosen = np.flatnonzero(right) if only_right else np.arange(batch.num_rows)
        some = batch.take(pa.array(chosen))
        entries = np.empty(len(chosen), _ENTRY)
        entries["row"] = self.rows + chosen
        entries["right"] = right[chosen]
        entries["finished"] = some["finished"].to_numpy(zero_copy_only=False)
        ids = some["problem_id"].dictionary_encode()
        codes = [self._problems.setdefault(n, len(self._problems)) for n in ids.dictionary.tolist()]
        entries["problem"] = np.array(codes, np.int32)[ids.indices.to_numpy()]
        for name, column in (("sample", "sample"), ("version", "policy_version"), ("seed", "seed")):
            entries[name] = some[column].to_numpy()
        for i, text in enumerate(some["text"].to_pylist()):
            entries["text"][i] = self._hash(text)
        return entries

    def _hash(self, text: str) -> int:
        return xxhash.xxh3_64_intdigest(self._spelling(text).encode(), self._salt)

    def _keep_one_of(self, *names: str) -> int:
        """Keep the earliest entry of each group that is equal in `names`; returns how many go."""
        entries = self.entries
        age = [entries[name] for name in _AGE]
        groups = [entries[name] for name in names]
        order = np.lexsort((*age, *groups))
        first = np.ones(len(order), np.bool_)
        first[1:] = np.any([np.diff(group[order]) != 0 for group in groups], axis=0)
        self.entries = entries[np.sort(order[first])]
        return len(entries) - len(self.entries)


def _scramble(numbers: NDArray[np.signedinteger]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser: numbers in a row become numbers all over."""
    x = numbers.astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
