"""The nouns that travel between the steps of the method.

Owns frozen values and their shapes; knows nothing of how any of them is computed.
Legend: P prompt tokens, T response tokens (the end-of-sequence token included when emitted).
Convention of the whole project: entry `t` of a per-token array is about token `t`, and a mask is
True where a value counts.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "UNJUDGED",
    "AnswerKind",
    "Completion",
    "Form",
    "Labelled",
    "Problem",
    "Prompt",
    "Reason",
    "Rollout",
    "Verdict",
]

Form = Literal["program", "nl"]
"""Form of a chain of thought: a Python program, or natural language."""

AnswerKind = Literal["number", "letter", "text"]
"""What a gold answer is: a number, the letter of a multiple-choice option, or any text, which only
the reward of a custom task can judge.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One question with its gold answer."""

    id: str
    """Unique in its task; `<source>_<integer>`, but for custom tasks, which choose."""
    question: str
    """Stripped text of the question."""
    answer: str
    """Gold answer as text: a number, or one lower-case letter."""
    cot: str = ""
    """Gold chain of thought; empty where there is none (test problems)."""
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)
    """Other fields of its record; kept for the rewards of custom tasks, empty for all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """The generation prefix of one problem, tokenised."""

    problem_id: str
    """Id of the problem it asks."""
    token_ids: NDArray[np.int32]
    """[P]."""
    samples: tuple[int, ...] = (0,)
    """Numbers of the samples wanted of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What the policy answered to one prompt."""

    problem_id: str
    """Id of the problem."""
    sample: int
    """Which of the samples of this problem: 0, 1, ..."""
    prompt_ids: NDArray[np.int32]
    """[P]."""
    token_ids: NDArray[np.int32]
    """[T], the end-of-sequence token included when `finished`."""
    logprobs: NDArray[np.float32]
    """[T], the sampler's own log-prob of each token, natural log, temperature applied."""
    finished: bool
    """True if the end-of-sequence token was emitted; False if the length limit cut it."""

    @property
    def length(self) -> int:
        """Number of tokens of prompt and response together."""
        return len(self.prompt_ids) + len(self.token_ids)


class Reason(enum.StrEnum):
    """Why a completion got its reward."""

    CORRECT = "correct"
    WRONG_VALUE = "wrong_value"
    NO_SOLUTION = "no_solution"
    SYNTAX_ERROR = "syntax_error"
    RUNTIME_ERROR = "runtime_error"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    NON_FINITE = "non_finite"
    NON_NUMERIC = "non_numeric"
    DENIED = "denied"
    EXECUTOR_FAULT = "executor_fault"


UNJUDGED = "not asked or not judged"
"""In the files of an evaluation, where a problem has no verdict: its prompt was too long, or the
checker failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What checking a completion found; data, never an exception."""

    reason: Reason
    """The one reason."""
    value: float | str | None = None
    """The extracted answer, a finite number or a letter; None if nothing usable was extracted."""
    detail: str = ""
    """The exception type of a runtime error, or what broke in an executor fault."""

    @property
    def correct(self) -> bool:
        """True if the extracted answer equals the gold answer."""
        return self.reason is Reason.CORRECT

    @property
    def extracted(self) -> bool:
        """True if an answer was extracted, right or wrong: what earns the partial reward."""
        return self.reason in (Reason.CORRECT, Reason.WRONG_VALUE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A completion of which it is known whether it is right: what a reward is audited with."""

    problem: Problem
    """The problem it answers."""
    completion: str
    """What the reward reads: a whole program, or text with its answer line."""
    right: bool
    """Whether its answer is the gold one."""
    kind: str
    """Of what sort it is; audits count by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A completion with its verdict and reward: what the rollout buffer and the ledger keep."""

    completion: Completion
    """The tokens and the sampler's log-probs."""
    text: str
    """The completion decoded, without the prompt and the end-of-sequence token."""
    verdict: Verdict
    """What the checker said."""
    reward: float
    """1, 0.1 or 0 by the paper's rule."""
    policy_version: int
    """Optimizer steps of the sampling policy so far, those counted that were skipped."""
    seed: int
    """Seed of the sampler that drew it."""
