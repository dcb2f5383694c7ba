"""A sample of problems with what each method answered, for people to browse.

Owns which problems are shown, which completions of each, and which filters show a completion. A
few hundred problems are chosen by a fixed rule that leaves room for what is rare: problems where
voting and the reranker disagree, and completions that ran into a limit or could not be judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from reft_megatron.commands.reproduce.report.samples import Sample, read_samples, read_texts
from reft_megatron.commands.reproduce.results import Method
from reft_megatron.config import load_config
from reft_megatron.learner.statistics import probabilities, reference_scores
from reft_megatron.log.records import read_records
from reft_megatron.rewards.compare import same
from reft_megatron.rewards.vote import majority, reranked
from reft_megatron.types import UNJUDGED, Reason

__all__ = ["LIMIT", "Card", "Choice", "Shown", "choose"]

LIMIT = 300
"""Problems that a page shows at most."""
_TEXT = 2_000
_FAULT = {Reason.TIMEOUT, Reason.MEMORY, Reason.DENIED, Reason.EXECUTOR_FAULT}
_FAULT_NAMES = {str(reason) for reason in _FAULT} | {UNJUDGED}
_NO_ERROR = {str(Reason.CORRECT), str(Reason.WRONG_VALUE)} | _FAULT_NAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One completion."""

    method: str
    """Whose it is."""
    roles: tuple[str, ...]
    """Why it is shown: greedy, vote, reranker; or the number of a sample."""
    verdict: str
    """What the checker said."""
    detail: str
    """What it said besides: the type of an exception for instance."""
    value: str
    """The answer; empty if it has none."""
    probability: str
    """The reranker's probability that it is right; empty if it was not scored."""
    text: str
    """The completion, its end left out if it is very long."""
    filters: tuple[str, ...]
    """Of `wrong`, `errors`, `faults` and `disagree` those that show it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One problem."""

    problem: str
    """Its id."""
    question: str
    """Its text."""
    gold: str
    """Its answer."""
    votes: tuple[str, ...]
    """How the samples of each method voted."""
    shown: tuple[Shown, ...]
    """Completions, method by method."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What is browsed."""

    cards: tuple[Card, ...]
    """In the order of the split."""
    total: int
    """Problems there are."""
    disagreements: tuple[int, int]
    """Problems where vote and reranker disagree, for some method: shown, and all."""
    faults: tuple[int, int]
    """Problems with a completion that ran into a limit or could not be judged: shown, and all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answers:
    """What one method answered."""

    name: str
    greedy: Mapping[str, Mapping[str, Any]]
    samples: Mapping[str, Sequence[Sample]]
    elected: Mapping[str, Mapping[str, int]]
    """Problem -> who chooses among its samples -> the place of the one chosen."""

    def disagree(self, problem: str) -> bool:
        """True if vote and reranker choose different answers."""
        elected = self.elected.get(problem, {})
        answers = [self.samples[problem][place].value for place in elected.values()]
        return len(answers) == 2 and not _same(*answers)

    def faulty(self, problem: str) -> bool:
        """True if a completion ran into a limit or could not be judged."""
        greedy = self.greedy.get(problem)
        sampled = any(sample.reason in _FAULT for sample in self.samples.get(problem, ()))
        return sampled or (greedy is not None and greedy["verdict"] in _FAULT_NAMES)


def choose(methods: Sequence[Method], *, limit: int = LIMIT) -> Choice:
    """The problems to show of methods with the same seed, and their completions.

    Two in five are for disagreements, one in five for faults, the others are spread evenly over the
    split; those for which there is no use go to the last. Raises DataError for a damaged file.
    """
    answers = [_read(method) for method in methods]
    names = list(dict.fromkeys(name for one in answers for name in one.greedy))
    apart = [name for name in names if any(one.disagree(name) for one in answers)]
    faulty = [name for name in names if any(one.faulty(name) for one in answers)]
    chosen = set(_spread(apart, limit * 2 // 5))
    chosen |= set(_spread([name for name in faulty if name not in chosen], limit // 5))
    chosen |= set(_spread([name for name in names if name not in chosen], limit - len(chosen)))
    texts = {method.name: read_texts(method.evaluation, chosen) for method in methods}
    return Choice(
        cards=tuple(_card(name, answers, texts) for name in names if name in chosen),
        total=len(names),
        disagreements=(len(chosen & set(apart)), len(apart)),
        faults=(len(chosen & set(faulty)), len(faulty)),
    )


def _read(method: Method) -> _Answers:
    folder = method.evaluation
    samples = read_samples(folder)
    exact = bool(samples) and load_config(folder / "config.yaml").task.parity == "reference"
    return _Answers(
        name=method.name,
        greedy={record["id"]: record for record in read_records(folder / "completions.jsonl")},
        samples=samples,
        elected={name: _elected(own, exact=exact) for name, own in samples.items()},
    )


def _spread(names: Sequence[str], count: int) -> list[str]:
    """At most `count` of `names`, evenly spread."""
    count = min(count, len(names))
    return [names[place * len(names) // count] for place in range(count)]


def _elected(samples: Sequence[Sample], *, exact: bool) -> dict[str, int]:
    """Who chooses -> the place of the sample that is chosen; `exact` as the reference does."""
    values = [sample.value for sample in samples]
    chosen = {"vote": majority(values, exact=exact)}
    found = [sample.score for sample in samples if sample.score is not None]
    if len(found) == len(samples):
        margins = np.array(found, np.float32)
        scores = reference_scores(margins) if exact else margins
        chosen["reranker"] = reranked(values, scores.tolist())
    return {who: place for who, place in chosen.items() if place is not None}


def _same(first: float | str | None, second: float | str | None) -> bool:
    return first is not None and second is not None and same(first, second)


def _card(
    name: str, answers: Sequence[_Answers], texts: Mapping[str, Mapping[tuple[str, int], str]]
) -> Card:
    known = next(one.greedy[name] for one in answers if name in one.greedy)
    shown: list[Shown] = []
    votes = []
    for one in answers:
        if (greedy := one.greedy.get(name)) is not None:
            shown.append(_greedy(one.name, greedy))
        shown += _sampled(one, name, texts[one.name])
        if samples := one.samples.get(name):
            right = sum(sample.right for sample in samples)
            votes.append(f"{one.name}: {right} of {len(samples)} samples are right")
    return Card(
        problem=name,
        question=_cut(known["problem"]),
        gold=_cut(str(known["answer"])),
        votes=tuple(votes),
        shown=tuple(_once_each(shown)),
    )


def _once_each(shown: Sequence[Shown]) -> list[Shown]:
    """The same text of a method with the same verdict once, with all reasons to show it."""
    found: dict[tuple[str, str, str], Shown] = {}
    for one in shown:
        key = (one.method, one.text, one.verdict)
        if (seen := found.get(key)) is None:
            found[key] = one
            continue
        found[key] = replace(
            seen,
            roles=(*seen.roles, *one.roles),
            probability=one.probability or seen.probability,
            filters=tuple(dict.fromkeys((*seen.filters, *one.filters))),
        )
    return list(found.values())


def _greedy(method: str, record: Mapping[str, Any]) -> Shown:
    return Shown(
        method=method,
        roles=("greedy",),
        verdict=record["verdict"],
        detail=record["detail"] or "",
        value=_value(record["value"]),
        probability="",
        text=_cut(record["completion"]),
        filters=_filters(record["verdict"], disagrees=False),
    )


def _sampled(one: _Answers, name: str, texts: Mapping[tuple[str, int], str]) -> list[Shown]:
    """The samples that were chosen, and the first of each kind of fault."""
    samples = one.samples.get(name, ())
    roles: dict[int, list[str]] = {}
    for who, place in one.elected.get(name, {}).items():
        roles.setdefault(place, []).append(who)
    chosen = set(roles) if one.disagree(name) else set()
    for reason in sorted(_FAULT):
        found = next((p for p, sample in enumerate(samples) if sample.reason is reason), None)
        if found is not None:
            roles.setdefault(found, [f"sample {samples[found].number}"])
    return [
        _sample(
            one.name,
            samples[place],
            roles=who,
            text=texts.get((name, samples[place].number), ""),
            disagrees=place in chosen,
        )
        for place, who in roles.items()
    ]


def _sample(
    method: str, sample: Sample, *, roles: Sequence[str], text: str, disagrees: bool
) -> Shown:
    return Shown(
        method=method,
        roles=tuple(roles),
        verdict=str(sample.reason),
        detail="",
        value=_value(sample.value),
        probability=_probability(sample.score),
        text=_cut(text),
        filters=_filters(str(sample.reason), disagrees=disagrees),
    )


def _probability(score: float | None) -> str:
    return "" if score is None else f"{probabilities(np.array(score, np.float32)):.3f}"


def _filters(verdict: str, *, disagrees: bool) -> tuple[str, ...]:
    found = {
        "wrong": verdict != Reason.CORRECT,
        "errors": verdict not in _NO_ERROR,
        "faults": verdict in _FAULT_NAMES,
        "disagree": disagrees,
    }
    return tuple(name for name, holds in found.items() if holds)


def _value(value: float | str | None) -> str:
    if value is None:
        return ""
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _cut(text: str) -> str:
    """The text, or its beginning and how much is left out."""
    rest = len(text) - _TEXT
    return text if rest <= 0 else f"{text[:_TEXT]}\n[{rest:,} more characters]"
