"""What a reward gets wrong: labelled completions in, errors by kind out.

A completion labelled wrong that is paid in full is a false positive, one labelled right that is not
is a false negative. Owns the counting and the bar that a run may demand. Labels are somebody
else's: `labelling` makes some from gold programs, `tasks.labelled` reads a file of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from reft_megatron.errors import TrainingError
from reft_megatron.types import Labelled, Problem, Reason, Verdict

__all__ = ["Audit", "Finding", "Tally", "audit"]

Check = Callable[[Sequence[tuple[Problem, str]]], list[Verdict]]
_TOLD = 3
"""Findings that an error names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A completion that the reward judged otherwise than its label, or could not judge."""

    case: Labelled
    """The completion and its label."""
    verdict: Verdict
    """What the reward made of it."""

    def row(self) -> dict[str, Any]:
        """It as one JSON object."""
        return {
            "id": self.case.problem.id,
            "kind": self.case.kind,
            "label": "right" if self.case.right else "wrong",
            "answer": self.case.problem.answer,
            "verdict": self.verdict.reason.value,
            "value": self.verdict.value,
            "detail": self.verdict.detail,
            "completion": self.case.completion,
        }

    def told(self) -> str:
        """It in a line."""
        verdict = self.verdict
        value = "" if verdict.value is None else f" {verdict.value!r}"
        detail = f" ({verdict.detail})" if verdict.detail else ""
        return (
            f"{self.case.problem.id} [{self.case.kind}]: wanted {self.case.problem.answer!r}, "
            f"verdict {verdict.reason.value}{value}{detail}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Cases of one kind."""

    right: int
    """Labelled right."""
    wrong: int
    """Labelled wrong."""
    false_positives: int
    """Of the wrong ones, those that were paid in full."""
    false_negatives: int
    """Of the right ones, those that were not."""
    faults: int
    """Cases that could not be judged; they are no errors of either sort."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What an audit found."""

    kinds: dict[str, Tally]
    """Counts by kind, in the order seen."""
    false_positives: tuple[Finding, ...]
    """In the order of the cases."""
    false_negatives: tuple[Finding, ...]
    """In the order of the cases."""
    faults: tuple[Finding, ...]
    """In the order of the cases."""

    @property
    def total(self) -> Tally:
        """All kinds together."""
        names = [field.name for field in dataclasses.fields(Tally)]
        return Tally(**{n: sum(getattr(t, n) for t in self.kinds.values()) for n in names})

    @property
    def rates(self) -> tuple[float, float]:
        """Shares of the wrong cases that were paid in full, and of the right ones that were not."""
        total = self.total
        return (
            total.false_positives / max(total.wrong, 1),
            total.false_negatives / max(total.right, 1),
        )

    def demand(self, *, max_false_positive_rate: float, max_false_negative_rate: float) -> None:
        """TrainingError if a rate is above its bar, if a case could not be judged, or if one label
        does not occur, so that a rate says nothing.
        """
        total = self.total
        bars = (
            ("wrong", "false positives", max_false_positive_rate, self.false_positives),
            ("right", "false negatives", max_false_negative_rate, self.false_negatives),
        )
        complaints = []
        for (label, name, bar, found), rate in zip(bars, self.rates, strict=True):
            cases = getattr(total, label)
            if not cases and bar < 1:
                complaints.append(f"no case is labelled {label}, so nothing is known of {name}")
            if rate > bar:
                complaints.append(
                    f"{len(found)} {name} of {cases} cases labelled {label} ({rate:.2%}, wanted at "
                    f"most {bar:.2%}): {_first(found)}"
                )
        if self.faults:
            complaints.append(f"{len(self.faults)} cases not judged: {_first(self.faults)}")
        if complaints:
            raise TrainingError(
                f"the reward does not meet its bar. {'; '.join(complaints)}. `reft-megatron audit` "
                "lists all of them: mend the reward, or correct the labels."
            )


def audit(cases: Sequence[Labelled], check: Check) -> Audit:
    """Have `check` judge the cases and hold its verdicts against their labels.

    `check` is the `check` of a judge: problems with completions in, verdicts out, in order.
    """
    verdicts = check([(case.problem, case.completion) for case in cases])
    found = [Finding(case=c, verdict=v) for c, v in zip(cases, verdicts, strict=True)]
    kinds: dict[str, list[Finding]] = {}
    for finding in found:
        kinds.setdefault(finding.case.kind, []).append(finding)
    return Audit(
        kinds={kind: _tally(findings) for kind, findings in kinds.items()},
        false_positives=tuple(filter(_overpaid, found)),
        false_negatives=tuple(filter(_underpaid, found)),
        faults=tuple(filter(_fault, found)),
    )


def _tally(findings: Sequence[Finding]) -> Tally:
    right = sum(finding.case.right for finding in findings)
    return Tally(
        right=right,
        wrong=len(findings) - right,
        false_positives=sum(map(_overpaid, findings)),
        false_negatives=sum(map(_underpaid, findings)),
        faults=sum(map(_fault, findings)),
    )


def _fault(finding: Finding) -> bool:
    return finding.verdict.reason is Reason.EXECUTOR_FAULT


def _overpaid(finding: Finding) -> bool:
    return finding.verdict.correct and not finding.case.right


def _underpaid(finding: Finding) -> bool:
    return finding.case.right and not finding.verdict.correct and not _fault(finding)


def _first(findings: Sequence[Finding]) -> str:
    more = f", and {len(findings) - _TOLD} more" if len(findings) > _TOLD else ""
    return "; ".join(finding.told() for finding in findings[:_TOLD]) + more
