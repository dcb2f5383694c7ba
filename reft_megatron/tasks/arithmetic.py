"""The generated arithmetic task: problems, their programs, and documents.

Owns the splits, the styles of the gold programs and the pretraining documents. The language lies in
`tasks.arithmetic_text`. Everything is a pure function of its seed; nothing is read from disk.

A gold program is one random *style* of the expression tree of its problem: how values are named,
whether steps are kept or folded into one expression, and in which order values are assigned. There
are many right programs of a problem, so sampling has something to explore.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_lowercase

from reft_megatron.errors import DataError
from reft_megatron.tasks.arithmetic_text import ROLES, Step, Story, draw
from reft_megatron.types import Problem

__all__ = ["SPLITS", "documents", "problems"]

SPLITS = ("train", "dev", "test")
_SHARES = ("dev", "test", *("train",) * 4, *("documents",) * 4)
_INDENT = "\n    "
_OPERATIONS = "+-*/%"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Style:
    """How a program is written."""

    naming: str
    """`noun_role`, `role_noun`, `role`, `letters` or `numbered`."""
    folded: bool
    """One expression instead of a line per step."""
    by_use: bool
    """Givens are assigned in the order of use instead of the order of the text."""
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


def documents(*, count: int, seed: int, start: int = 0) -> Iterator[tuple[str, str]]:
    """Pretraining documents `start`, `start + 1`, ...: (question part, rest), `count` of them.

    The question part is the generation prefix of a problem of no split; the rest is the body of a
    program in a random style whose operations, operands and role words are random. So a model
    learns to copy numbers and to write such programs, and nothing of the answers. Document i is the
    same whatever `start` is.
    """
    for index in range(start, start + count):
        rng = random.Random(f"arithmetic documents {seed} {index}")
        story = draw(rng)
        while _split(_number(story.question)) != "documents":
            story = draw(rng)
        prefix = f"Question:\n{story.question}\nAnswer reasoning:\n{_head(story.question)}"
        yield prefix, _program(_scrambled(story, rng), _style(rng), rng)


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
        by_use=rng.random() < 0.5,
        swapped=rng.random() < 0.25,
    )


def _scrambled(story: Story, rng: random.Random) -> Story:
    """The story with random givens of its text under random names, and random steps on them."""
    numbers = [*story.values.values(), *([] if story.decoy is None else [story.decoy])]
    chosen = rng.sample(numbers, rng.randint(2, min(5, len(numbers))))
    names = [role + tail for role in ROLES for tail in ("", "2")]
    rng.shuffle(names)
    givens, targets = names[: len(chosen)], names[len(chosen) :]
    steps: list[Step] = []
    waiting = list(givens)
    while len(waiting) > 1:
        left, right = rng.sample(waiting, 2)
        target = targets.pop()
        waiting.remove(left)
        # Sometimes an operand of the first step stays in play: comparisons use one twice.
        if steps or rng.random() < 0.7:
            waiting.remove(right)
        waiting.append(target)
        steps.append(Step(target=target, left=left, operation=rng.choice(_OPERATIONS), right=right))
    return Story(
        question=story.question,
        values=dict(zip(givens, chosen, strict=True)),
        steps=tuple(steps),
        nouns=story.nouns,
        answer=0,
        decoy=None,
    )


def _program(story: Story, style: _Style, rng: random.Random) -> str:
    """The body of a program, from the first assignment to `return result`."""
    givens = list(story.values)
    if style.by_use:
        used = [name for step in story.steps for name in (step.left, step.right)]
        givens = sorted(givens, key=used.index)
    names = _names([*givens, *(step.target for step in story.steps[:-1])], story, style, rng)
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


def _names(keys: Sequence[str], story: Story, style: _Style, rng: random.Random) -> dict[str, str]:
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
