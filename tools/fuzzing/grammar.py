"""Programs made at random from two grammars, the same for the same seed.

Owns the notation of the `.grammar` files and their expansion. A rule is a name and a colon; below
it, indented, stand its alternatives, each a weight and a template; ` ; ` parts several in a line.
In a template `<name>` is another rule, `\\n` the end of a line, `\\\\n` a backslash and an n. A
rule whose name ends in `block` stands on lines of its own, one level deeper. Where a program has
grown deep enough, only the alternatives are taken that lead no deeper.
"""

from __future__ import annotations

import random
import re
from bisect import bisect
from collections.abc import Iterator
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

__all__ = ["Grammar", "program"]

FILES = ("expressions.grammar", "statements.grammar")
INDENT = "    "

_ALTERNATIVE = re.compile(r"(\d+) (.*)")
_LINE_END = re.compile(r"(?<!\\)\\n")
_PLACE = re.compile(r"<([a-z_0-9]+)>")
_RULE = re.compile(r"([a-z_0-9]+):")


class _Choice(NamedTuple):
    """Alternatives with their weights summed up: `bisect` finds one in a few nanoseconds."""

    sums: list[int]
    templates: list[tuple[str, ...]]

    def pick(self, chance: random.Random) -> tuple[str, ...]:
        return self.templates[bisect(self.sums, chance.random() * self.sums[-1])]


class Grammar:
    """Rules, by name."""

    def __init__(self, text: str) -> None:
        """Raises ValueError for a rule that is used and not there, or never ends."""
        rules = _parse(text)
        self._deep = {name: _choice(given) for name, given in rules.items()}
        self._flat = {name: _choice(given) for name, given in _shallow(rules).items()}

    @property
    def rules(self) -> frozenset[str]:
        """Names of the rules."""
        return frozenset(self._deep)

    def expand(self, rule: str, chance: random.Random, *, depth: int) -> str:
        """A text of the rule; `depth` rules deep at most before it takes the short way."""
        parts: list[str] = []
        self._add(parts, rule, (chance, depth, "\n"))
        return "".join(parts)

    def _add(self, parts: list[str], rule: str, state: tuple[random.Random, int, str]) -> None:
        chance, depth, newline = state
        if rule.endswith("block"):
            newline += INDENT
            parts.append(newline)
        choice = self._deep[rule] if depth > 0 else self._flat[rule]
        inside = (chance, depth - 1, newline)
        # Literal text and names of rules take turns.
        for place, part in enumerate(choice.pick(chance)):
            if place % 2:
                self._add(parts, part, inside)
            else:
                parts.append(part if newline == "\n" else part.replace("\n", newline))


def program(seed: int, number: int) -> str:
    """Program `number` of the seed."""
    chance = random.Random(seed << 40 | number)
    return _grammar().expand("program", chance, depth=chance.choice((6, 7, 8, 9)))


@cache
def _grammar() -> Grammar:
    folder = Path(__file__).parent
    return Grammar("\n".join((folder / name).read_text("utf-8") for name in FILES))


_Rules = dict[str, list[tuple[int, tuple[str, ...]]]]


def _parse(text: str) -> _Rules:
    rules: _Rules = {}
    given: list[tuple[int, tuple[str, ...]]] = []
    for line in text.split("\n"):
        if found := _RULE.fullmatch(line):
            given = rules.setdefault(found[1], [])
        elif line.startswith("  "):
            given += _alternatives(line[2:])
        elif line and not line.startswith("#"):
            raise ValueError(f"neither a rule nor an alternative: {line!r}")
    return rules


def _alternatives(line: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    for item in re.split(r" ; (?=\d+ )", line):
        found = _ALTERNATIVE.fullmatch(item)
        if found is None:
            raise ValueError(f"an alternative is a weight and a template: {item!r}")
        text = _LINE_END.sub("\n", found[2]).replace(r"\\n", r"\n")
        template = _PLACE.split(text)
        yield int(found[1]), tuple(template)


def _shallow(rules: _Rules) -> _Rules:
    """Of each rule the alternatives that end soonest."""
    ends: dict[str, int] = {}
    while len(ends) < len(rules):
        found = {
            name: 1 + min(costs)
            for name, given in rules.items()
            if name not in ends
            and (costs := [_cost(template, ends) for _, template in given if _ends(template, ends)])
        }
        if not found:
            raise ValueError(f"rules that never end: {sorted(rules.keys() - ends.keys())}")
        ends |= found
    return {
        name: [(w, t) for w, t in given if 1 + _cost(t, ends) <= ends[name]]
        for name, given in rules.items()
    }


def _ends(template: tuple[str, ...], ends: dict[str, int]) -> bool:
    return all(place in ends for place in template[1::2])


def _cost(template: tuple[str, ...], ends: dict[str, int]) -> int:
    return max((ends[place] for place in template[1::2]), default=0)


def _choice(given: list[tuple[int, tuple[str, ...]]]) -> _Choice:
    return _Choice(list(accumulate(w for w, _ in given)), [template for _, template in given])
