"""What the reward of a custom task says of a completion.

Owns the three verdicts that it has a choice of; `rewards.rule` says what each is worth.
"""

from __future__ import annotations

from reft_megatron.types import Reason, Verdict

__all__ = ["no_answer", "right", "wrong"]


def right(value: float | str | None = None) -> Verdict:
    """The answer is the gold one: reward 1.

    `value` is the answer as votes count it, a finite number or one letter; without one the
    completion has no vote.
    """
    return Verdict(reason=Reason.CORRECT, value=value)


def wrong(value: float | str | None = None) -> Verdict:
    """An answer was given, and it is wrong: reward `rewards.partial`. `value` as in `right`."""
    return Verdict(reason=Reason.WRONG_VALUE, value=value)


def no_answer(why: str = "") -> Verdict:
    """No answer was given: reward 0. `why` stands in the ledger."""
    return Verdict(reason=Reason.NO_SOLUTION, detail=why)
