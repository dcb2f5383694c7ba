"""Real programs, spoilt as a model spoils them.

Owns the seeds (a few of its own; real ones where the data folder is there) and what is done to
them: pieces swapped, doubled, left out or replaced, the end cut off, chatter and comments put in,
indentation changed, variables renamed. The same for the same seed.
"""

from __future__ import annotations

import builtins
import gzip
import json
import keyword
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from tools.fuzzing import grammar

__all__ = ["SEEDS", "mutant", "renamed", "seeds_in", "truncation"]

SEEDS = (
    '''def solution():
    """Ann has 29 birds of 7 pairs each. How many pairs?"""
    birds = 29
    pairs = birds * 7
    result = pairs
    return result''',
    """def solution():
    # 1. How much is one? (depends on 0)
    price = 12.50
    total = price * 3 + (4 if price > 10 else 0)
    answer = round(total / 7, 2)
    return answer""",
    """def solution():
    prices = {"pen": 1.25, 'cap': 7}
    total = 0
    for name, price in prices.items():
        if price < 2 and name != "x":
            total += price * 2
        else:
            total -= price // 3
    return total""",
    '''import math

def boxes(items, size=6):
    return math.ceil(items / size)

def solution():
    counts = [boxes(n) for n in range(1, 20, 3)]
    days = 0
    while sum(counts) > days ** 2:
        days += 1
        if days == 4: continue
    return f"{days:>4d} days, {sum(counts):.1f}"''',
    """def solution():
    try:
        values = [int(x) for x in "3, 4,five".split(",")]
    except ValueError as error:
        values = [len(str(error)), -1]
    first, *rest = sorted(values, reverse=True)
    return first % 7 + (n % 5 > 0 if (n := rest[0]) else 1)""",
    """def solution():
    def fib(n):
        return n if n < 2 else fib(n - 1) + fib(n - 2)
    table = {i: fib(i) for i in range(9)}
    assert table[8] == 21, "wrong"
    text = "%d of %s" % (table[7], {v: k for k, v in table.items()}.get(13))
    return max(table.values()) if "of" in text else None""",
)
"""Programs of our own, for where no data are."""

REAL = ("programs/real.jsonl.gz", "mwp_reft/svamp_python_sdp.json")
_REAL_MOST = 6000

_TOKEN = re.compile(
    r"[ \t]+|\n|#[^\n]*|\"\"\"|'''|\"[^\"\n]*\"|'[^'\n]*'|\d[\w.]*|\w+|\*\*|//|[-+*/<>=!]=|."
)
_NAME = re.compile(r"\b[a-z_][a-z_0-9]*\b")
_STRING_OR_COMMENT = re.compile(r"\"\"\".*?\"\"\"|\"[^\"\n]*\"|'[^'\n]*'|#[^\n]*", re.DOTALL)
_F_STRING = re.compile(r"\b[fF][rR]?[\"']|\b[rR][fF][\"']")
_NUMBERS = """0 1 -1 2 10 007 0.1 0.5 1e308 -0.0 1e16 1e-5 9007199254740993 9223372036854775808
    10**400 1_000 1,000 0x1F 3. .5 1e 5e-324 100 None True '3' 12abc 1if 0b2 1__0"""
_BINARY = "+ - * / // % ** < <= > >= == !="
_OPERATORS = _BINARY + " = += -= and or not in is , . : ; ( ) [ ] { } @ -> := & | ^ ~ << >> !"
_WORDS = """if else elif for while return def lambda in not and or is None True False pass break
    continue try except finally raise import from global nonlocal del assert yield with as print
    len sum range int round str x result solution math async await class f r b"""
_NEW_NUMBERS, _NEW_BINARY = _NUMBERS.split(), _BINARY.split()
_NEW_OPERATORS, _NEW_WORDS = _OPERATORS.split(), _WORDS.split()
_CHATTER = (
    "The answer is 12.",
    "```",
    "```python",
    "# Example usage",
    "print(solution())",
    "So, 3 + 4 = 7.",
    "def solution():",
    "Question: how many?",
    "result",
    "\u20ac 5 \u2212 3",
    "assert solution() == 3",
)
_BUILTINS = frozenset(dir(builtins))


def seeds_in(folder: Path | None) -> list[str]:
    """Our own programs, and the real ones that the data folder holds."""
    found = list(SEEDS)
    if folder is None:
        return found
    collected, items = (folder / name for name in REAL)
    if collected.is_file():
        with gzip.open(collected, "rt", encoding="utf-8") as lines:
            found += [json.loads(line)["code"] for line in lines][::4][:_REAL_MOST]
    if items.is_file():
        found += [item["answer_cot"] for item in json.loads(items.read_text("utf-8"))][::3]
    return found


def mutant(seeds: Sequence[str], seed: int, number: int) -> str:
    """Mutant `number` of the seed."""
    chance = random.Random(seed << 40 | number)
    text = grammar.program(seed, number) if chance.random() < 0.3 else chance.choice(seeds)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        text = chance.choice(_CHANGES)(text or "\n", chance)
    return text


def truncation(seeds: Sequence[str], number: int) -> str:
    """All seeds cut at every character, counted through: number 0 has one character."""
    place = number % sum(map(len, seeds))
    for text in seeds:
        if place < len(text):
            return text[: place + 1]
        place -= len(text)
    raise AssertionError(place)


def renamed(text: str, chance: random.Random) -> str:
    """The same program with other names for its variables."""
    bare = _STRING_OR_COMMENT.sub("", text)
    bound = re.findall(r"^\s*([a-z_][a-z_0-9]*) = ", bare, re.MULTILINE)
    taken = set(_NAME.findall(text))
    fresh = {
        name: f"{chance.choice('pqz')}{index}_{name[::-1]}"
        for index, name in enumerate(dict.fromkeys(bound))
        if name not in _BUILTINS and not keyword.iskeyword(name) and name != "solution"
    }
    if (
        _F_STRING.search(text)
        or taken & set(fresh.values())
        or any(f".{name}" in text or f"{name}=" in bare for name in fresh)
    ):
        return text  # names may stand in a string, or mean an attribute or a keyword argument
    parts, end = [], 0
    for found in _STRING_OR_COMMENT.finditer(text):
        parts.append(_NAME.sub(lambda m: fresh.get(m[0], m[0]), text[end : found.start()]))
        parts.append(found[0])
        end = found.end()
    parts.append(_NAME.sub(lambda m: fresh.get(m[0], m[0]), text[end:]))
    return "".join(parts)


# ---- changes: each takes a text and chance


def _swap(text: str, chance: random.Random) -> str:
    pieces = _TOKEN.findall(text)
    a, b = chance.randrange(len(pieces)), chance.randrange(len(pieces))
    pieces[a], pieces[b] = pieces[b], pieces[a]
    return "".join(pieces)


def _piece(text: str, chance: random.Random) -> str:
    """One piece left out, doubled or replaced by another."""
    pieces = _TOKEN.findall(text)
    at = chance.randrange(len(pieces))
    new = (
        chance.choice(_NEW_OPERATORS),
        chance.choice(_NEW_WORDS),
        chance.choice(_NEW_NUMBERS),
        "",
        pieces[at] * 2,
    )
    pieces[at] = chance.choice(new)
    return "".join(pieces)


def _like(text: str, chance: random.Random) -> str:
    """A number or operator replaced by another: most of these still run."""
    pieces = _TOKEN.findall(text)
    numbers = [at for at, piece in enumerate(pieces) if piece[0].isdigit()]
    operators = [at for at, piece in enumerate(pieces) if piece in _NEW_BINARY]
    for places, instead in ((numbers, _NEW_NUMBERS), (operators, _NEW_BINARY)):
        if places:
            pieces[chance.choice(places)] = chance.choice(instead)
    return "".join(pieces)


def _name(text: str, chance: random.Random) -> str:
    """One use of a name replaced by another name of the program."""
    found = list(_NAME.finditer(text))
    if not found:
        return text
    at = chance.choice(found)
    return text[: at.start()] + chance.choice(found)[0] + text[at.end() :]


def _line(text: str, chance: random.Random) -> str:
    """A line doubled, left out, moved, joined with the next, or indented otherwise."""
    lines = text.split("\n")
    at, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    line = lines[at]
    change = chance.randrange(8)
    if change == 0:
        lines.insert(other, line)
    elif change == 1:
        del lines[at]
    elif change == 2:
        lines[at], lines[other] = lines[other], line
    elif change == 3:
        lines[at] = "    " + line
    elif change == 4:
        lines[at] = line[chance.choice((1, 2, 4)) :]
    elif change == 5:
        lines[at] = line.replace("    ", "\t", 1)
    elif change == 6:
        lines[at : at + 2] = [";".join(piece.strip() for piece in lines[at : at + 2])]
    else:
        lines[at] = line + chance.choice((" \\", ";", " # note", "  ", "\r", "\f", " = 1", ","))
    return "\n".join(lines)


def _insert(text: str, chance: random.Random) -> str:
    """Chatter, a comment or an empty line put in."""
    lines = text.split("\n")
    extra = chance.choice((*_CHATTER, "", "    # so far", "        ", "\t", "#"))
    lines.insert(chance.randrange(len(lines) + 1), extra)
    return "\n".join(lines)


def _loosen(text: str, chance: random.Random) -> str:
    """White space, a comment or the end of a line put between two pieces."""
    pieces = _TOKEN.findall(text)
    extra = chance.choice((" ", "\n", "\\\n", " # why\n", "\t", "\f", "  \n\n"))
    at = [at for at, piece in enumerate(pieces) if piece in ("(", "[", "{", ",")] or [0]
    pieces.insert(chance.choice(at) + 1, extra)
    return "".join(pieces)


def _append(text: str, chance: random.Random) -> str:
    return text + chance.choice(("\n", "\n\n", "")) + chance.choice(_CHATTER)


def _cut_short(text: str, chance: random.Random) -> str:
    return text[: chance.randrange(len(text)) + 1]


def _character(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text))
    new = chance.choice("\0\t\n\r\f\v \\'\"#(){}[]:;,.=_09azAZ$?`!\u00e9\u2212\u200b\ufeff\ud800")
    return text[:at] + new + text[at + chance.randrange(2) :]


def _line_ends(text: str, chance: random.Random) -> str:
    return text.replace("\n", chance.choice(("\r\n", "\r", "\n\n")))


_CHANGES: tuple[Callable[[str, random.Random], str], ...] = (
    _like, _like, _like, _swap, _piece, _piece, _name, _name, _line, _line,
    _insert, _append, _loosen, _loosen, _cut_short, _character, renamed, _line_ends,
)  # fmt: skip
