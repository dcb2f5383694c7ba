"""The answer that a chain of thought in words ends with.

Owns one rule: what stands behind the last `Therefore, the answer is:` is the answer and nothing
else. A number may bring its marks (`$1,014.50`, `8%`, a full stop), a letter a bracket; words,
a second number or text behind it make it no answer. The reference takes what float() takes
(train_rl_reft.py:54-76), the bare number alone. Searching for a number among words would pay for
`203 or 204`, `not 203` and `203 million` too: `reft-megatron audit` found these.
"""

from __future__ import annotations

import re

from reft_megatron.ops.extractor import TRIGGER
from reft_megatron.rewards.compare import Outcome
from reft_megatron.types import AnswerKind, Reason

__all__ = ["read_answer"]

_NUMBER = re.compile(
    r"""
    ([-+\u2212]?) \ ? \$? \ ? ([-\u2212]?)             # the minus before or behind the dollar
    (
        (?: [0-9]{1,3} (?: ,[0-9]{3} )+ | [0-9]+ ) (?: \.[0-9]* )?  # the full stop in it or behind
    |
        \.[0-9]+
    )
    ( [eE][-+]?[0-9]+ )?
    \ ? %? \.?
    """,
    re.ASCII | re.VERBOSE,
)
_UNENDING = re.compile(r"[-+]?(?:inf|infinity|nan)", re.IGNORECASE)
_LETTER = re.compile(r"""["'(]? ([a-z]) \ ? ["')]? \.?""", re.ASCII | re.IGNORECASE | re.VERBOSE)
_LONGEST = 400
"""Characters of an answer: a float in full has fewer."""


def read_answer(text: str, kind: AnswerKind) -> Outcome:
    """The number or letter behind the last trigger of `text`, or why there is none.

    NO_SOLUTION if the trigger or anything behind it is missing, NON_NUMERIC if what stands there is
    more or other than one answer of this kind. Numbers may be infinite or nan, as `compare` expects
    them.
    """
    _, trigger, behind = text.rpartition(TRIGGER)
    answer = behind.strip()
    if not (trigger and answer):
        return Outcome(failure=Reason.NO_SOLUTION)
    value = None
    if len(answer) <= _LONGEST:
        value = _letter(answer) if kind == "letter" else _number(answer)
    return Outcome(failure=Reason.NON_NUMERIC) if value is None else Outcome(value=value)


def _letter(answer: str) -> str | None:
    match = _LETTER.fullmatch(answer)
    return match and match[1]


def _number(answer: str) -> float | None:
    if _UNENDING.fullmatch(answer):
        return float(answer)
    match = _NUMBER.fullmatch(answer)
    if match is None or (match[1] and match[2]):
        return None
    value = float(match[3].replace(",", "") + (match[4] or ""))
    return -value if {match[1], match[2]} & {"-", "\u2212"} else value
