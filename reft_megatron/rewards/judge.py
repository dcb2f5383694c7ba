"""The judge: completions in, verdicts out.

Owns the way from a completion's text to its verdict for one form of chain of thought and one kind
of answer, in the corrected form (`parity: correct`) or exactly as the reference has it
(`parity: reference`). Knows neither the model nor the tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from reft_megatron.closing import Closing
from reft_megatron.config import RewardConfig
from reft_megatron.ops.extractor import Extractor, Limits, Results
from reft_megatron.ops.status import Status
from reft_megatron.rewards.answer_line import read_answer
from reft_megatron.rewards.compare import Outcome, compare, compare_as_reference
from reft_megatron.types import Form, Problem, Reason, Verdict

__all__ = ["Judge"]

_FAILURES = {
    Status.NON_NUMERIC: Reason.NON_NUMERIC,
    Status.NO_ENTRY: Reason.NO_SOLUTION,
    Status.SYNTAX_ERROR: Reason.SYNTAX_ERROR,
    Status.RUNTIME_ERROR: Reason.RUNTIME_ERROR,
    Status.STEP_LIMIT: Reason.TIMEOUT,
    Status.TIME_LIMIT: Reason.TIMEOUT,
    Status.MEMORY_LIMIT: Reason.MEMORY,
    Status.DIGITS_LIMIT: Reason.MEMORY,
    Status.INPUT_LIMIT: Reason.MEMORY,
    Status.DENIED: Reason.DENIED,
}
"""What a status says of a completion; the others are faults of the machinery."""


class Judge(Closing):
    """Checks answers; a context manager that ends the threads and workers it has started.

    Programs run in the extractor's C++ core, or in isolated workers where the core does not know
    what they use. Both start with the first batch that needs them.
    """

    def __init__(
        self,
        *,
        form: Form,
        kind: Literal["number", "letter"],
        config: RewardConfig,
        parity: Literal["correct", "reference"],
    ) -> None:
        self._form: Form = form
        self._kind = kind
        self._as_reference = parity == "reference"
        self._partial = config.partial
        self._extractor = Extractor(
            threads=config.threads,
            limits=Limits(
                max_steps=config.max_steps,
                max_output_bytes=config.max_output_kb << 10,
                wall_s=config.timeout_s,
                worker_memory_bytes=config.memory_mb << 20,
            ),
            compat="reft" if self._as_reference else "python",
            isolation=config.isolation,
            workers=config.workers,
        )

    @property
    def partial(self) -> float:
        """Partial reward that fits this judge: `rewards.partial`, but 0 for letters.

        A guessed letter is not progress: the paper gives partial rewards only where all answers are
        numeric. The reference gives them for letters too.
        """
        return self._partial if self._kind == "number" or self._as_reference else 0.0

    def judge(self, items: Sequence[tuple[str, str]]) -> list[Verdict]:
        """One verdict per (answer text, gold answer), in order.

        The answer text is what follows the last `Answer reasoning:` line. Equal programs run once.
        A worker that fails is retried once; then the verdict is an executor fault, which has no
        reward. Raises DataError for a gold answer of the wrong kind and TrainingError if workers no
        longer start; nothing in an answer text raises.
        """
        texts = [text for text, _ in items]
        outcomes = self._read(texts) if self._form == "nl" else self._run(texts)
        weigh = compare_as_reference if self._as_reference else compare
        golds = [gold for _, gold in items]
        return [
            weigh(outcome, gold, self._kind) for outcome, gold in zip(outcomes, golds, strict=True)
        ]

    def check(self, answers: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """`judge`, for whoever has problems: one verdict per (problem, answer text), in order."""
        return self.judge([(text, problem.answer) for problem, text in answers])

    def stats(self) -> dict[str, Any]:
        """What the extractor counts: programs, by whom they were run, faults, isolation."""
        return self._extractor.stats()

    def close(self) -> None:
        """End all threads and worker processes; safe to repeat."""
        self._extractor.close()

    def _run(self, programs: list[str]) -> list[Outcome]:
        results = self._extractor.run(programs, want_text=self._kind == "letter")
        return [self._outcome(results, row) for row in range(len(programs))]

    def _read(self, texts: list[str]) -> list[Outcome]:
        if not self._as_reference:
            return [read_answer(text, self._kind) for text in texts]
        results = self._extractor.run_nl(texts, mode="reft", kind=self._kind)
        return [self._outcome(results, row) for row in range(len(texts))]

    def _outcome(self, results: Results, row: int) -> Outcome:
        status = Status(results.status[row])
        if status > Status.OK_NONFINITE:
            failure = _FAILURES.get(status, Reason.EXECUTOR_FAULT)
            return Outcome(failure=failure, detail=_detail(results, row, failure))
        if self._kind == "letter":
            return Outcome(value=results.text(row), detail=results.type_name(row))
        return Outcome(value=float(results.value[row]), detail=results.type_name(row))


def _detail(results: Results, row: int, failure: Reason) -> str:
    if failure is Reason.RUNTIME_ERROR:
        return results.exception(row)
    if failure is Reason.NON_NUMERIC:
        return results.type_name(row)
    return results.why(row)
