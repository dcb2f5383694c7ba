"""The judge: completions in, verdicts out.

Owns the way from a completion's text to its verdict for one form of chain of thought and one kind
of answer, in the corrected form (`parity: correct`) or exactly as the reference has it
(`parity: reference`). Knows neither the model nor the tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Literal, Self

from reft_megatron.config import RewardConfig
from reft_megatron.rewards.answer_text import read_answer, read_answer_as_reference
from reft_megatron.rewards.compare import compare, compare_as_reference
from reft_megatron.rewards.outcome import Outcome
from reft_megatron.rewards.pool import WorkerPool
from reft_megatron.rewards.program_text import cut_at_blank_line, cut_program
from reft_megatron.types import AnswerKind, Form, Reason, Verdict

__all__ = ["Judge"]


class Judge:
    """Checks answers; a context manager that ends its worker processes.

    Programs run in isolated workers (`pool`); reading text starts no process. Use it from the
    thread that made it.
    """

    def __init__(
        self,
        *,
        form: Form,
        kind: AnswerKind,
        config: RewardConfig,
        parity: Literal["correct", "reference"],
    ) -> None:
        """Start the workers if there are programs to run; TrainingError if they do not start."""
        self._kind: AnswerKind = kind
        self._as_reference = parity == "reference"
        self._partial = config.partial
        self._pool = WorkerPool(config) if form == "program" else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def partial(self) -> float:
        """Partial reward that fits this judge: `rewards.partial`, but 0 for letters.

        A guessed letter is not progress: the paper gives partial rewards only where all answers are
        numeric. The reference gives them for letters too.
        """
        return self._partial if self._kind == "number" or self._as_reference else 0.0

    def judge(self, items: Sequence[tuple[str, str]]) -> list[Verdict]:
        """One verdict per (answer text, gold answer), in order.

        The answer text is what follows the last `Answer reasoning:` line. Programs that are equal
        after the cut run once. A worker that fails is retried once; then the verdict is an executor
        fault, which has no reward. Raises DataError for a gold answer of the wrong kind and
        TrainingError if workers no longer start; nothing in an answer text raises.
        """
        outcomes = self._extract([text for text, _ in items])
        weigh = compare_as_reference if self._as_reference else compare
        golds = [gold for _, gold in items]
        return [
            weigh(outcome, gold, self._kind) for outcome, gold in zip(outcomes, golds, strict=True)
        ]

    def stats(self) -> dict[str, object]:
        """Programs run, workers respawned, faults, and what isolates the workers, by name."""
        pool = self._pool
        return {
            "programs": pool.programs if pool else 0,
            "respawns": pool.respawns if pool else 0,
            "faults": pool.faults if pool else 0,
            "isolation": dict(pool.isolation) if pool else {},
        }

    def close(self) -> None:
        """End all worker processes; safe to repeat."""
        if self._pool is not None:
            self._pool.close()

    def _extract(self, texts: list[str]) -> list[Outcome]:
        if self._pool is None:
            read = read_answer_as_reference if self._as_reference else read_answer
            return [read(text, self._kind) for text in texts]
        cut = cut_at_blank_line if self._as_reference else cut_program
        programs = [cut(text) for text in texts]
        unique = list(dict.fromkeys(program for program in programs if program is not None))
        outcomes = self._pool.run(
            unique,
            want="text" if self._kind == "letter" else "number",
            split_namespaces=self._as_reference,
        )
        found = dict(zip(unique, outcomes, strict=True))
        missing = Outcome(failure=Reason.NO_SOLUTION)
        return [missing if program is None else found[program] for program in programs]
