"""Variable names for the programs made from GSM8K solutions.

Owns choosing snake_case names from the words around a number: `24 clips in May` is `clips_may`.
Names are plain lower-case English words, so that a sub-word tokenizer splits them well, and a pure
function of the text.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

__all__ = ["Quantity", "quantities", "step_name", "unused"]

_PLAIN_WORDS = """
a about adding additional after all also altogether am amount an and another are as at be because
been before both but by calculate can could did divide do does doing each equal equals every
figure find finds first for from gets get give gives giving had has have he hence her him his how
i if in into is it its just know let make makes making me means multiply multiplying my need needs
next now of on one only or other our out over she since so subtract such than that the their them
then there therefore these they this those thus times to total totaling two up us value was we
were what when where which while who will with would you your
"""
_STOP_WORDS = frozenset(_PLAIN_WORDS.split())
_RESERVED = frozenset([*keyword.kwlist, *dir(builtins), "result", "solution", "math", "sympy"])
_CLAUSE_END = re.compile(r"[.,;:!?](?:\s|$)|[()=]")
_NUMBER = re.compile(r"(?<![\w./:])(\$?)(\d+(?:,\d{3})*(?:\.\d+)?)(?![\w/:])")
_NUMBER_WORDS = {
    2: "two half twice double doubled doubles",
    3: "three third thirds thrice triple tripled triples",
    4: "four fourth quarter quadruple",
    **{5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine", 10: "ten", 12: "twelve dozen"},
    100: "hundred percent percentage",
}
_WORD_VALUES = {word: value for value, words in _NUMBER_WORDS.items() for word in words.split()}
_LEADING_VALUE = re.compile(r"^[\s$]*[\d.,]*\d")
_PRICE_OF = re.compile(r"^\s*(?:an?|per|every)\s+(?=[a-z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number of the question that has a name there."""

    value: float
    """The number; no other number of the question has the same value."""
    name: str
    """Name from the words behind it."""


def quantities(question: str) -> Iterator[Quantity]:
    """The numbers that `question` writes in digits, if no other number or word has their value.

    1 is left out: in expressions it mostly belongs to a fraction or to a rest such as 1 - 1/4.
    """
    digits = re.findall(r"\d+(?:\.\d+)?", _without_commas(question))
    words = re.findall("[a-z]+", question.lower().replace("%", " percent "))
    values = [*map(float, digits), *(_WORD_VALUES[word] for word in words if word in _WORD_VALUES)]
    for number in _NUMBER.finditer(question):
        value = float(_without_commas(number[2]))
        ahead, behind = question[: number.end(1)], question[number.end() :]
        if value != 1 and values.count(value) == 1 and (name := _name(ahead, behind)):
            yield Quantity(value=value, name=name)


def step_name(before: str, after: str) -> str:
    """Name of a computed value from the text of its line ahead of it and behind it.

    `before` may begin with the value of an earlier step, and `after` begins with the value itself.
    """
    return _name(_LEADING_VALUE.sub("", before), _LEADING_VALUE.sub("", after)) or "amount"


def unused(name: str, taken: Collection[str]) -> str:
    """`name`, with a number behind it if it is taken or means something in Python."""
    candidate, count = name, 1
    while candidate in taken or candidate in _RESERVED:
        count += 1
        candidate = f"{name}_{count}"
    return candidate


def _without_commas(text: str) -> str:
    return re.sub(r"(?<=\d),(?=\d{3})", "", text)


def _name(ahead: str, behind: str) -> str:
    """Name of a number between `ahead`, whose last sign may be a dollar, and `behind`."""
    unit = ["dollars"] if ahead.rstrip().endswith("$") else []
    unit += ["percent"] if behind.startswith("%") else []
    clause = re.split(r"\d", _CLAUSE_END.split(behind.lstrip("%"))[0])[0]
    words = unit + _words(_PRICE_OF.sub(" per ", clause))[:3]
    if len(words) < 2 or words == unit:
        words = _subject(ahead)[-2:] + words
    kept = list(dict.fromkeys(words))[:4]
    return "_".join(kept[:-1] if kept[-1:] == ["per"] else kept)


def _subject(ahead: str) -> list[str]:
    """Words of the last clause of `ahead` that has any, up to its arithmetic."""
    for clause in reversed(_CLAUSE_END.split(ahead)):
        if words := _words(re.split(r"\d", clause)[0]) or _words(clause):
            return words
    return []


def _words(text: str) -> list[str]:
    """The words of `text` that carry meaning, in lower case, possessives taken off."""
    words = re.findall(r"[a-z]+", re.sub("['\u2019]s?\\b", "", text.lower()))
    return [word for word in words if len(word) > 1 and word not in _STOP_WORDS]
