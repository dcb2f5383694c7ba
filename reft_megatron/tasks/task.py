"""A task: problems in three splits, and the text that asks them.

Owns the face that recipes see. It does not read files (`loader`) and does not judge answers.
"""

from __future__ import annotations

from dataclasses import dataclass

from reft_megatron.errors import DataError
from reft_megatron.tasks import prompts
from reft_megatron.tasks.custom import QUESTION
from reft_megatron.tasks.ending import returned
from reft_megatron.tasks.prompts import Parity
from reft_megatron.types import AnswerKind, Form, Problem

__all__ = ["Task"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Problems of one data set in one form of chain of thought."""

    name: str
    """Name of the data set, as in `TaskConfig.name`."""
    form: Form
    """Form of the chains of thought."""
    kind: AnswerKind
    """What the gold answers are."""
    parity: Parity
    """`reference` restores the authors' prompts where they can break a program."""
    train: tuple[Problem, ...]
    """Problems to train on; empty when the configuration names no training file."""
    dev: tuple[Problem, ...]
    """Problems carved from the training file, for selection only."""
    test: tuple[Problem, ...]
    """Held-out problems without chains of thought; empty when no test file is named."""
    template: str = ""
    """The whole prompt of a custom task, with `{question}` in it; empty for ReFT's own."""
    twins: int = 0
    """Problems of the training file left out, since a dev problem asks the same question."""

    def problems(self, split: str) -> tuple[Problem, ...]:
        """Problems of `split`: "train", "dev" or "test".

        Raises:
            DataError: no such split, or the configuration names no file for it.
        """
        splits = {"train": self.train, "dev": self.dev, "test": self.test}
        if split not in splits:
            raise DataError(f"task {self.name} has no split {split!r}; take train, dev or test")
        file = "test" if split == "test" else "train"
        if not splits[file]:
            raise DataError(
                f"task {self.name} has no {split} problems, because task.{file} is empty; "
                f"set task.{file} to the path of a data file"
            )
        return splits[split]

    def census(self) -> str:
        """How many problems there are, and how many are left out, in words."""
        sizes = {"train": self.train, "dev": self.dev, "test": self.test}
        told = ", ".join(f"{len(problems)} {split}" for split, problems in sizes.items())
        return f"{told}; {self.twins} left out of train, asked in dev too" if self.twins else told

    def prompt_text(self, problem: Problem) -> str:
        """Text that a completion of `problem` continues, in rollouts and in evaluation."""
        if self.template:
            return self.template.replace(QUESTION, problem.question)
        return prompts.prompt_text(problem, self.form, self.parity)

    def supervised_text(self, problem: Problem) -> tuple[str, str]:
        """Input (no loss) and output (trained) of supervised fine-tuning; the caller adds eos.

        Raises DataError for a problem of a custom task that has no chain of thought.
        """
        if not problem.cot:
            raise DataError(
                f"the problem {problem.id} has no chain of thought to learn from; give it a "
                f"`chain` in task.train, or leave supervised training out"
            )
        if self.template:
            return self.prompt_text(problem), problem.cot
        return prompts.supervised_text(problem, self.form)

    def gold_completion(self, problem: Problem) -> str | None:
        """The gold chain of thought as a completion of `prompt_text`.

        None if it does not begin as the prompt ends: its docstring words the question otherwise.
        """
        whole, prompt = "".join(self.supervised_text(problem)), self.prompt_text(problem)
        return whole.removeprefix(prompt) if whole.startswith(prompt) else None

    def answer_text(self, problem: Problem, completion: str) -> str:
        """What the judge reads of a problem's `completion`, with the prompt's part of it.

        Behind a prompt of the user's own it is the completion as it stands.
        """
        if self.template:
            return completion
        return prompts.answer_text(problem, completion, form=self.form, parity=self.parity)

    def over(self, completion: str) -> bool:
        """True if nothing can change the answer of `completion` any more: its program returned.

        Never under parity `reference`, whose code generates up to the end-of-sequence token.
        """
        ours = self.form == "program" and self.parity == "correct" and not self.template
        return ours and returned(completion)
