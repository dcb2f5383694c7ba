"""The stories of the generated arithmetic task: words, templates, drawing.

Owns the language (sentences, paraphrases, names, number ranges) and how a question is drawn from
it. Programs, splits and the public API are in `tasks.arithmetic`.

A sentence holds slots in braces. `who`, `other`, `noun`, `box` (and `other2`, ...) are words; every
other slot is a *given*, a number named by its role. A trailing 2 means the second thing of that
role, which is counted in the second noun: `price2` is the price of `noun2`. Steps are written as
`target = left op right`, joined by semicolons; the last target is always `result`.
"""

from __future__ import annotations

import operator
import random
import string
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["OPERATIONS", "ROLES", "TEMPLATES", "Step", "Story", "Template", "apply", "draw"]

NAMES = ("tom", "mia", "sam", "ana", "leo", "eva", "ben", "zoe", "max", "ida", "kim", "dan")
NOUNS = (
    *("apples", "pears", "books", "coins", "cards", "shells", "stamps", "pens"),
    *("cakes", "eggs", "balls", "beads", "stones", "roses", "cookies", "plums"),
)
BOXES = ("bags", "boxes", "jars", "baskets", "trays", "rows")

ROLES: dict[str, tuple[tuple[str, ...], int, int]] = {
    "start": (("start", "first", "initial"), 10, 99),
    "end": (("end", "final", "now"), 5, 60),
    "gained": (("gained", "added", "new"), 2, 40),
    "lost": (("lost", "given", "gone"), 2, 40),
    "more": (("more", "extra"), 2, 30),
    "fewer": (("fewer", "less"), 2, 30),
    "times": (("times", "factor"), 2, 6),
    "groups": (("groups", "packs"), 2, 12),
    "each": (("each", "per"), 2, 20),
    "part": (("part", "share"), 2, 6),
    "count": (("count", "number"), 2, 12),
    "price": (("price", "cost"), 2, 15),
    "money": (("money", "budget"), 20, 99),
    "friends": (("friends", "people"), 2, 9),
    "rate": (("rate", "speed"), 2, 20),
    "hours": (("hours", "time"), 2, 9),
    "days": (("days", "shifts"), 2, 7),
    "size": (("size", "capacity"), 3, 12),
    "total": (("total", "whole"), 0, 0),
    "left": (("left", "rest"), 0, 0),
    "second": (("second", "theirs"), 0, 0),
    "bill": (("bill", "spent"), 0, 0),
}
"""Role -> (the words a program may use for it, lowest and highest given number)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One kind of story: its sentences, its question, and the steps to the answer."""

    story: tuple[tuple[str, ...], ...]
    """Sentences in order, each as its paraphrases."""
    ask: tuple[str, ...]
    """Paraphrases of the question."""
    steps: str
    """`target = left op right; ...`, the last target `result`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One binary operation; operands are roles of givens or targets of earlier steps."""

    target: str
    """Name of the value it makes."""
    left: str
    """Left operand."""
    operation: str
    """One of `+ - * / %`."""
    right: str
    """Right operand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A question drawn from a template, with what its program needs."""

    question: str
    """The text of the question: lower-case ASCII, one line."""
    values: dict[str, int]
    """Givens in the order of the text."""
    steps: tuple[Step, ...]
    """The operations, in an order that can be executed."""
    nouns: tuple[str, str]
    """What is counted, and the second thing (`apples2` where a text counts apples twice)."""
    answer: int
    """The value of the last step."""
    decoy: int | None
    """The number of a sentence that does not matter; None where there is no such sentence."""


HAS = (
    "{who} has {start} {noun}.",
    "{who} owns {start} {noun}.",
    "there are {start} {noun} in the house of {who}.",
    "at first {who} has {start} {noun}.",
)
LOSES = (
    "{who} gives {lost} {noun} to {other}.",
    "then {other} takes {lost} of the {noun}.",
    "{who} loses {lost} {noun}.",
    "after a week {lost} {noun} are gone.",
    "later {lost} of the {noun} are sold by {who}.",
)
GAINS = (
    "{other} gives {who} {gained} more {noun}.",
    "then {who} gets {gained} new {noun}.",
    "{who} buys {gained} {noun}.",
    "{who} finds {gained} more {noun} in the garden.",
)
PACKED = (
    "{who} has {groups} {box} with {each} {noun} in each.",
    "{who} fills {groups} {box}, each with {each} {noun}.",
    "each of the {groups} {box} of {who} holds {each} {noun}.",
    "{who} puts {each} {noun} into each of {groups} {box}.",
)
PACKED2 = (
    "there are also {groups2} {box2} with {each2} {noun} each.",
    "{who} gets {groups2} {box2}, each with {each2} {noun}.",
    "{other} brings {each2} {noun} in each of {groups2} {box2}.",
)
BUYS = (
    "{who} buys {count} {noun} for {price} dollars each.",
    "{who} pays {price} dollars for each of {count} {noun}.",
    "the {noun} cost {price} dollars each and {who} takes {count}.",
)
BUYS2 = (
    "{who} also buys {count2} {noun2} for {price2} dollars each.",
    "then {who} takes {count2} {noun2} that cost {price2} dollars each.",
    "the price of a box of {noun2} is {price2} dollars and {who} needs {count2}.",
)
MONEY = (
    "{who} has {money} dollars.",
    "{who} goes to the shop with {money} dollars.",
    "{other} gives {who} {money} dollars for the shop.",
)
MAKES = (
    "{who} makes {rate} {noun} every hour.",
    "every hour {who} packs {rate} {noun}.",
    "in one hour {who} can paint {rate} {noun}.",
)
SHARES = (
    "{who} gives equal shares to {friends} friends.",
    "the {noun} are split evenly among {friends} children.",
    "{who} deals all of them out to {friends} people.",
)
LEFT = (
    "how many {noun} are left?",
    "how many {noun} does {who} have now?",
    "what number of {noun} remains?",
)
TOGETHER = (
    "how many {noun} do they have together?",
    "how many {noun} do {who} and {other} have in all?",
    "what is the total number of {noun}?",
)
COST = (
    "how much does {who} pay in all?",
    "what is the total cost?",
    "how many dollars does {who} spend?",
)
CHANGE = (
    "how much money is left?",
    "how many dollars does {who} have now?",
    "what is the change?",
)
EACH_GETS = (
    "how many {noun} does each one get?",
    "how many {noun} are there for each?",
    "what is the share of one?",
)
DECOYS = (
    "{other} is {decoy} years old.",
    "the shop is {decoy} miles away.",
    "{other} reads {decoy} pages.",
    "{who} walks for {decoy} minutes.",
    "the house has {decoy} windows.",
)

TEMPLATES: dict[str, Template] = {
    "loss": Template(story=(HAS, LOSES), ask=LEFT, steps="result = start - lost"),
    "change": Template(
        story=(HAS, GAINS, LOSES), ask=LEFT, steps="total = start + gained; result = total - lost"
    ),
    "groups": Template(
        story=(PACKED, LOSES), ask=LEFT, steps="total = groups * each; result = total - lost"
    ),
    "more": Template(
        story=(
            HAS,
            (
                "{other} has {more} more {noun} than {who}.",
                "that is {more} {noun} fewer than {other} has.",
                "{other} counts {more} extra {noun} compared to {who}.",
            ),
        ),
        ask=TOGETHER,
        steps="second = start + more; result = start + second",
    ),
    "fewer": Template(
        story=(
            HAS,
            (
                "{other} has {fewer} fewer {noun} than {who}.",
                "that is {fewer} {noun} more than {other} has.",
                "{other} needs {fewer} {noun} to have as many as {who}.",
            ),
        ),
        ask=TOGETHER,
        steps="second = start - fewer; result = start + second",
    ),
    "times": Template(
        story=(
            HAS,
            (
                "{other} has {times} times as many {noun} as {who}.",
                "for each of them {other} has {times} {noun}.",
                "{other} owns {times} times that number of {noun}.",
            ),
        ),
        ask=TOGETHER,
        steps="second = start * times; result = start + second",
    ),
    "part": Template(
        story=(
            PACKED,
            (
                "one of every {part} {noun} is red.",
                "only one {noun} piece in {part} is red.",
                "the red ones are one part out of {part}.",
            ),
        ),
        ask=("how many {noun} are red?", "how many red {noun} are there?", "count the red {noun}."),
        steps="total = groups * each; result = total / part",
    ),
    "purchases": Template(
        story=(BUYS, BUYS2),
        ask=COST,
        steps="bill = count * price; bill2 = count2 * price2; result = bill + bill2",
    ),
    "purse": Template(
        story=(MONEY, BUYS), ask=CHANGE, steps="bill = count * price; result = money - bill"
    ),
    "sharing": Template(
        story=(HAS, GAINS, SHARES),
        ask=EACH_GETS,
        steps="total = start + gained; result = total / friends",
    ),
    "difference": Template(
        story=(PACKED, ("{other} has {end} {noun}.", "the {noun} of {other} are {end} in number.")),
        ask=(
            "how many more {noun} does {who} have than {other}?",
            "how many {noun} does {other} lack to match {who}?",
            "what is the difference?",
        ),
        steps="total = groups * each; result = total - end",
    ),
    "rate": Template(
        story=(
            MAKES,
            (
                "{who} works {hours} hours a day for {days} days.",
                "for {days} days the work takes {hours} hours each day.",
                "this goes on for {hours} hours on each of {days} days.",
            ),
        ),
        ask=(
            "how many {noun} are done?",
            "how many {noun} does {who} finish?",
            "what is the total number of {noun}?",
        ),
        steps="total = rate * hours; result = total * days",
    ),
    "unknown": Template(
        story=(
            (
                "{who} gives away {lost} {noun} and buys {gained}.",
                "{who} buys {gained} {noun} and loses {lost}.",
                "first {lost} {noun} are sold, then {who} gets {gained} more.",
            ),
            (
                "now {who} has {end} {noun}.",
                "after that there are {end} {noun}.",
                "{who} ends with {end} {noun}.",
            ),
        ),
        ask=(
            "how many {noun} did {who} have at first?",
            "how many {noun} were there before?",
            "with how many {noun} did {who} begin?",
        ),
        steps="total = end + lost; result = total - gained",
    ),
    "remainder": Template(
        story=(
            HAS,
            GAINS,
            (
                "{who} packs them into {box} of {size}.",
                "each of the {box} must hold {size} {noun}.",
                "they go into full {box} with {size} {noun} each.",
            ),
        ),
        ask=(
            "how many {noun} are left over?",
            "how many {noun} do not fit?",
            "how many {noun} stay outside?",
        ),
        steps="total = start + gained; result = total % size",
    ),
    "two_groups": Template(
        story=(PACKED, PACKED2),
        ask=TOGETHER,
        steps="total = groups * each; second = groups2 * each2; result = total + second",
    ),
    "shopping": Template(
        story=(MONEY, BUYS, BUYS2),
        ask=CHANGE,
        steps="bill = count * price; bill2 = count2 * price2; left = money - bill; "
        "result = left - bill2",
    ),
}
"""The sixteen kinds of problem."""

OPERATIONS: dict[str, Callable[[int, int], int]] = {
    **{"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.floordiv},
    "%": operator.mod,
}
DECOY_SHARE, LARGEST = 0.15, 2000


def apply(operation: str, left: int, right: int) -> int | None:
    """The exact positive whole result of `left operation right`; None if there is none."""
    if operation in "/%" and (right == 0 or (operation == "/" and left % right)):
        return None
    value = OPERATIONS[operation](left, right)
    return value if 0 < value <= LARGEST else None


def draw(rng: random.Random) -> Story:
    """One story with all of its numbers whole and positive, drawn from all templates alike."""
    template = rng.choice(tuple(TEMPLATES.values()))
    words = _words(rng)
    sentences = [rng.choice(paraphrases) for paraphrases in template.story]
    if rng.random() < DECOY_SHARE:
        sentences.insert(rng.randrange(1, len(sentences) + 1), rng.choice(DECOYS))
    text = " ".join([*sentences, rng.choice(template.ask)])
    slots = [name for _, name, _, _ in string.Formatter().parse(text) if name]
    steps = tuple(_step(written) for written in template.steps.split("; "))
    answer = None
    while answer is None:
        numbers = {slot: _number(slot, rng) for slot in slots if slot not in words}
        answer = _answer(numbers, steps)
    return Story(
        question=text.format(**words, **numbers),
        values={slot: number for slot, number in numbers.items() if slot != "decoy"},
        steps=steps,
        nouns=(words["noun"], words["noun2"] if "noun2" in slots else f"{words['noun']}2"),
        answer=answer,
        decoy=numbers.get("decoy"),
    )


def _words(rng: random.Random) -> dict[str, str]:
    """Draw the words of a story."""
    who, other = rng.sample(NAMES, 2)
    noun, noun2 = rng.sample(NOUNS, 2)
    box, box2 = rng.sample(BOXES, 2)
    return {"who": who, "other": other, "noun": noun, "noun2": noun2, "box": box, "box2": box2}


def _number(slot: str, rng: random.Random) -> int:
    """Draw the number of a slot."""
    lowest, highest = (2, 40) if slot == "decoy" else ROLES[slot.rstrip("2")][1:]
    return rng.randint(lowest, highest)


def _step(written: str) -> Step:
    """Parse `target = left op right`."""
    target, _, left, operation, right = written.split()
    return Step(target=target, left=left, operation=operation, right=right)


def _answer(numbers: dict[str, int], steps: tuple[Step, ...]) -> int | None:
    """Execute the steps; None where one of them has no whole positive result."""
    known = dict(numbers)
    for step in steps:
        value = apply(step.operation, known[step.left], known[step.right])
        if value is None:
            break
        known[step.target] = value
    return known.get("result")
