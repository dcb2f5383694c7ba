"""The text around a problem: prompts and training sequences.

Owns the three instruction strings of ReFT and everything built from them, byte for byte as the
authors' code (mwp_ReFT, train_rl_reft.py lines 49-51 and 138-153). Knows nothing of tokens: the
end-of-sequence token is added where text becomes tokens, and no begin-of-sequence token exists.
"""

from __future__ import annotations

import re
from typing import Literal

from reft_megatron.types import Form, Problem

__all__ = [
    "ANSWER_TRIGGER",
    "COT_TRIGGER",
    "INSTRUCTION",
    "Parity",
    "answer_text",
    "program_head",
    "prompt_text",
    "supervised_text",
]

INSTRUCTION = "Question:\n"
COT_TRIGGER = "\nAnswer reasoning:\n"
ANSWER_TRIGGER = "\nTherefore, the answer is: "

Parity = Literal["correct", "reference"]
"""`correct`, or `reference` for what the authors' code does where the two differ."""


def prompt_text(problem: Problem, form: Form, parity: Parity) -> str:
    """Text that a completion of `problem` continues, in rollouts and in evaluation.

    The program form ends with the head of the program, which guarantees a copied docstring.
    """
    prompt = _asked(problem)
    return prompt + program_head(problem.question, parity) if form == "program" else prompt


def supervised_text(problem: Problem, form: Form) -> tuple[str, str]:
    """Input (no loss on it) and output (trained) of supervised fine-tuning."""
    output = problem.cot
    if form == "nl":
        output += ANSWER_TRIGGER + problem.answer
    return _asked(problem), output


def answer_text(problem: Problem, completion: str, *, form: Form, parity: Parity) -> str:
    """The program or reasoning: what follows the trigger in prompt and completion together.

    The prompt's own trigger, that is. Parity `reference` takes the last one, also where a question
    or a completion that runs on holds another.
    """
    whole = prompt_text(problem, form, parity) + completion
    if parity == "reference":
        return whole.rpartition(COT_TRIGGER)[2].strip()
    return whole.removeprefix(_asked(problem)).strip()


def program_head(question: str, parity: Parity) -> str:
    """First lines of a program: `def solution():` and the question as its docstring.

    Parity `reference` copies the question raw, so that a blank line, three quotes, a last quote or
    a backslash in it can break the program. `correct` drops blank lines (the reference cuts
    programs at the first one) and escapes the rest.
    """
    docstring = question if parity == "reference" else _escaped(question)
    return f'def solution():\n    """{docstring}"""\n'


def _asked(problem: Problem) -> str:
    return INSTRUCTION + problem.question + COT_TRIGGER


def _escaped(question: str) -> str:
    text = "\n".join(line for line in question.splitlines() if line.strip())
    return re.sub(r'\\|"""|"\Z', lambda match: re.sub("(.)", r"\\\1", match[0]), text)
