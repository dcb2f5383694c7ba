"""What the extractor and CPython made of the same program, side by side.

Owns what counts as the same outcome, and which differences are explained: the extractor may stop at
a limit, refuse, or say that it does not know a thing; it may not be wrong. Both are given the same
part of a text, cut by the Python twin of the extractor's own cut.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from reft_megatron.closing import Closing
from reft_megatron.ops.extractor import Extractor
from reft_megatron.ops.reference.program_text import cut_program
from reft_megatron.ops.status import Status
from tools.fuzzing.oracle import Answer

__all__ = ["Answers", "Bench", "Pair", "cut"]

LIMITS = frozenset(
    (Status.STEP_LIMIT, Status.MEMORY_LIMIT, Status.DIGITS_LIMIT, Status.INPUT_LIMIT)
)
_PASSED = frozenset((Status.DENIED, Status.UNSUPPORTED))
_ENDED = {
    "raised": Status.RUNTIME_ERROR,
    "syntax": Status.SYNTAX_ERROR,
    "no_entry": Status.NO_ENTRY,
}
# CPython may take long over what the extractor does in this many steps, or more.
_MANY_STEPS = 20_000
_DOUBTS = 5  # questions before CPython is believed to be decided
_SECOND_TOP_LINE = re.compile(r"\n[^\n\r \t\f#]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NO_ENTRY = Answer(kind="no_entry")


class Answers(Protocol):
    """The oracle, or what stands in for it."""

    def answers(self, programs: Sequence[str]) -> list[Answer]:
        """What became of each program."""

    def again(self, program: str) -> Answer:
        """What becomes of it in a fresh process."""

    def close(self) -> None:
        """Let go of it."""


class Found(NamedTuple):
    """What the extractor made of a program."""

    status: Status
    """How it ended."""
    exception: str
    """Name of what it raised."""
    type_name: str
    """Type of the result."""
    value: str
    """float.hex() of the result; empty if float() fails."""
    text: str
    """The start of str() of the result."""
    why: str
    """Which limit, or what it does not know."""
    steps: int
    """Steps it took."""


class Pair(NamedTuple):
    """A program with both outcomes."""

    program: str
    """Its text."""
    found: Found
    """The extractor's outcome."""
    answer: Answer
    """CPython's."""
    decided: bool = True
    """False if CPython answers now this, now that: addresses decide the order of some sets."""

    @property
    def explained(self) -> str:
        """Why they may differ, or `same`; empty if they differ and nothing explains it."""
        found, answer = self.found, self.answer
        if found.status in _PASSED:
            return found.status.name.lower()
        if found.status in LIMITS:
            return "limit"
        if not self.decided:
            return "undecided in CPython"
        if answer.kind == "limit":
            return "slow in CPython" if found.steps >= _MANY_STEPS else ""
        if answer.kind == "value":
            seen = (found.exception, found.type_name, found.value, found.text)
            same = seen == answer[1:5] and found.status is _status(answer.value)
        else:
            same = found.status is _ENDED.get(answer.kind)
            same = same and (answer.kind != "raised" or found.exception == answer.exception)
        return "same" if same else ""

    @property
    def sort(self) -> tuple[str, ...]:
        """Differences of one sort are likely to have one cause."""
        found, answer = self.found, self.answer
        return found.status.name, found.exception, answer.kind, answer.exception

    def told(self) -> str:
        """Both outcomes in two lines."""
        found, answer = self.found, self.answer
        told = [found.status.name, found.exception, found.type_name, found.value]
        shown = [part for part in told if part]
        if found.why:
            shown.append(f"({found.why})")
        wanted = [part for part in answer[:4] if part]
        return (
            f"extractor: {' '.join(shown)} {found.text!r}\n"
            f"cpython:   {' '.join(wanted)} {answer.text!r}"
        )


class Bench(Closing):
    """Runs programs both ways. Not for several threads."""

    def __init__(self, oracle: Answers) -> None:
        self._oracle = oracle
        self._extractor = Extractor(threads=1, fallback="none", dedup=False)

    def compare(self, texts: Sequence[str], *, doubt: bool = True) -> list[Pair]:
        """Both outcomes of each text; with `doubt` CPython is asked again where they differ."""
        programs = [cut(text) for text in texts]
        answers = iter(self._oracle.answers([program for program in programs if program]))
        found = self.found(texts)
        pairs = [
            Pair(text, one, next(answers) if program else _NO_ENTRY)
            for text, program, one in zip(texts, programs, found, strict=True)
        ]
        return [self._doubted(pair) if doubt and not pair.explained else pair for pair in pairs]

    def _doubted(self, pair: Pair) -> Pair:
        program = cut(pair.program)
        again = (self._oracle.again(program) for _ in range(_DOUBTS if program else 0))
        decided = all(answer[:-1] == pair.answer[:-1] for answer in again)
        return pair._replace(decided=decided)

    def found(self, texts: Sequence[str]) -> list[Found]:
        """The extractor's outcome of each text."""
        results = self._extractor.run(list(texts), want_text=True)
        values, statuses = results.value.tolist(), results.status.tolist()
        return [
            Found(
                status=Status(statuses[row]),
                exception=results.exception(row),
                type_name=results.type_name(row),
                value=_hex(values[row], statuses[row]),
                text=results.text(row),
                why=results.why(row),
                steps=int(results.steps[row]),
            )
            for row in range(len(texts))
        ]

    def close(self) -> None:
        """End oracle and threads."""
        self._oracle.close()
        self._extractor.close()


def cut(text: str) -> str:
    """The program in a text, as the extractor cuts it; empty if there is none.

    All of a text that is no UTF-8: it ends neither as a program nor without one.
    """
    if _SURROGATE.search(text):
        return text
    stripped = text.strip()
    start = stripped.find("def solution")
    if start == 0 and not _SECOND_TOP_LINE.search(stripped) and stripped[12:13] == "(":
        return stripped  # what nearly all programs are
    return cut_program(text) or ""


def _status(value: str) -> Status:
    """Status of a result; where text is wanted, a result that is no number is as good as one."""
    finite = not value or math.isfinite(float.fromhex(value))
    return Status.OK if finite else Status.OK_NONFINITE


def _hex(value: float, status: int) -> str:
    """A value as the oracle writes it. Where text is wanted, nan beside OK stands for no number."""
    return value.hex() if status == Status.OK_NONFINITE or not math.isnan(value) else ""
