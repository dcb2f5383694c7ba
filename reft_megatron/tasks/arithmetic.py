"""The generated arithmetic task: problems, their programs, and documents.

Owns the splits, the styles of the gold programs and the pretraining documents. The language lies in
`tasks.arithmetic_text`. Everything is a pure function of its seed; nothing is read from disk.

A gold program is one random *style* of the expression tree of its problem: how values are named,
whether steps are kept or folded into one expression, which operand comes first. There are many
right programs of a problem, so sampling has something to explore.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_lowercase

from reft_megatron.errors import DataError
from reft_megatron.tasks.arithmetic_text import OPERATIONS, ROLES, Step, Story, draw
from reft_megatron.types import Problem

__all__ = ["SPLITS", "documents", "problems"]

SPLITS = ("train", "dev", "test")
_SHARES = ("dev", "test", *("train",) * 4, *("documents",) * 4)
_INDENT = "\n    "


@dataclass(frozen=True, slots=True, kw_only=True)
class _Style:
    """How a program is written."""

    naming: str
    """`noun_role`, `role_noun`, `role`, `letters` or `numbered`."""
    folded: bool
    """One expression instead of a line per step."""
    swapped: bool
    """Operands of sums and products change places."""


def problems(split: str, *, count: int, seed: int) -> tuple[Problem, ...]:
    """The first `count` problems of a split.

    An id is a hash of the question, and the id alone decides the split, so no two splits share a
    question, whatever their seeds. A bigger count extends a smaller one of the same seed.

    Raises `DataError` for an unknown split.
    """
    if split not in SPLITS:
        raise DataError(
            f"The arithmetic task has no split {split!r}; use one of {', '.join(SPLITS)}."
        )
    rng = random.Random(f"arithmetic {split} {seed}")
    found: dict[int, Problem] = {}
    while len(found) < count:
        story, style = draw(rng), _style(rng)
        number = _number(story.question)
        if number not in found and _split(number) == split:
            found[number] = Problem(
                id=f"arithmetic_{number}",
                question=story.question,
                answer=str(story.answer),
                cot=_head(story.question) + _program(story, style, rng),
            )
    return tuple(found.values())


def documents(
    *, count: int, seed: int, start: int = 0, right: float = 0.5
) -> Iterator[tuple[str, str]]:
    """Pretraining documents `start`, `start + 1`, ...: (question, program), `count` of them.

    Questions of no split, in the text of a supervised pair. A share `right` of the programs is
    right; the others take the numbers in the order of the text and do anything with them. So a
    model learns to copy, to write programs and some of what words mean, as from a corpus of mixed
    quality. Document i is the same whatever `start` is.
    """
    for index in range(start, start + count):
        rng = random.Random(f"arithmetic documents {seed} {index}")
        story = draw(rng)
        while _split(_number(story.question)) != "documents":
            story = draw(rng)
        told = story if rng.random() < right else _scrambled(story, rng)
        program = _head(story.question) + _program(told, _style(rng), rng)
        yield f"Question:\n{story.question}\nAnswer reasoning:\n", program


def _number(question: str) -> int:
    """The integer of a question's id, under 2 ** 31."""
    return int.from_bytes(hashlib.sha256(question.encode()).digest()[:4]) >> 1


def _split(number: int) -> str:
    """The split of a question: `train`, `dev`, `test` or `documents`."""
    return _SHARES[number % len(_SHARES)]


def _head(question: str) -> str:
    """The opening of every program."""
    return f'def solution():\n    """{question}"""\n'


def _style(rng: random.Random) -> _Style:
    """Draw a style."""
    return _Style(
        naming=rng.choice(("noun_role", "role_noun", "role", "letters", "numbered")),
        folded=rng.random() < 0.5,
        swapped=rng.random() < 0.25,
    )


def _scrambled(story: Story, rng: random.Random) -> Story:
    """The story with its givens, perhaps one that does not matter, and random steps on them."""
    values = dict(story.values)
    spare = [role + tail for role in ROLES for tail in ("", "2") if role + tail not in values]
    rng.shuffle(spare)
    if story.decoy is not None and rng.random() < 0.3:
        values[spare.pop()] = story.decoy
    waiting = list(values)
    steps: list[Step] = []
    while len(waiting) > 1:
        left, right = rng.sample(waiting, 2)
        target = spare.pop()
        waiting.remove(left)
        # Sometimes an operand of the first step stays in play: comparisons use one twice.
        if steps or rng.random() < 0.8:
            waiting.remove(right)
        waiting.append(target)
        operation = rng.choice(tuple(OPERATIONS))
        steps.append(Step(target=target, left=left, operation=operation, right=right))
    return Story(
        question=story.question,
        values=values,
        steps=tuple(steps),
        nouns=story.nouns,
        answer=0,
        decoy=None,
    )


def _program(story: Story, style: _Style, rng: random.Random) -> str:
    """The body of a program, from the first assignment to `return result`."""
    givens = list(story.values)
    names = _names([*givens, *(step.target for step in story.steps[:-1])], story, style, rng=rng)
    steps = [_swap(step) if style.swapped else step for step in story.steps]
    lines = [f"{names[given]} = {story.values[given]}" for given in givens]
    if style.folded:
        lines.append(f"result = {_folded(steps, names)}")
    else:
        names[steps[-1].target] = "result"
        lines += [
            f"{names[step.target]} = {names[step.left]} {step.operation} {names[step.right]}"
            for step in steps
        ]
    return "    " + _INDENT.join([*lines, "return result"])


def _names(
    keys: Sequence[str], story: Story, style: _Style, *, rng: random.Random
) -> dict[str, str]:
    """What a program calls each value."""
    if style.naming in ("letters", "numbered"):
        letter = rng.choice("nvx")
        plain = (
            ascii_lowercase if style.naming == "letters" else [f"{letter}{i}" for i in range(1, 27)]
        )
        return dict(zip(keys, plain, strict=False))
    names: dict[str, str] = {}
    for key in keys:
        role = rng.choice(ROLES[key.rstrip("2")][0])
        noun = story.nouns[key.endswith("2")]
        names[key] = {
            "noun_role": f"{noun}_{role}",
            "role_noun": f"{role}_{noun}",
            "role": role + ("_2" if key.endswith("2") else ""),
        }[style.naming]
    return names


def _swap(step: Step) -> Step:
    """The step with its operands exchanged where that changes nothing."""
    if step.operation not in "+*":
        return step
    return Step(target=step.target, left=step.right, operation=step.operation, right=step.left)


def _folded(steps: Sequence[Step], names: Mapping[str, str]) -> str:
    """All steps as one expression, in parentheses only where Python needs them."""
    inner = {step.target: step for step in steps}

    def render(name: str, around: str, on_right: bool) -> str:
        if name not in inner:
            return names[name]
        step = inner[name]
        left = render(step.left, step.operation, on_right=False)
        right = render(step.right, step.operation, on_right=True)
        text = f"{left} {step.operation} {right}"
        weaker = step.operation in "+-" and around in "*/%"
        alike = (step.operation in "+-") == (around in "+-")
        return f"({text})" if weaker or (on_right and alike and around != "+") else text

    return render(steps[-1].target, "+", on_right=False)
