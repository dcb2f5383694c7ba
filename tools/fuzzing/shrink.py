"""Making a program as small as it can be while something stays true of it.

Owns the two ways of taking away: lines of text, for what does not parse, and parts of the syntax
tree, which leaves few things over. Deterministic; gives up after a number of trials.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterator, Sequence

__all__ = ["shrink"]

_TRIALS = 3000
_TOKEN = re.compile(r"\s+|\w+|'[^'\n]*'|\"[^\"\n]*\"|.", re.DOTALL)
_STATEMENTS = ("body", "orelse", "finalbody", "handlers")


class _SpentError(Exception):
    """No trials are left."""


class _Trials:
    """Asks the test, a limited number of times, and remembers the smallest text that passed."""

    def __init__(self, text: str, test: Callable[[str], bool]) -> None:
        self.best = text
        self._test = test
        self._seen = {text}

    def passes(self, text: str) -> bool:
        if text in self._seen:
            return False
        if len(self._seen) > _TRIALS:
            raise _SpentError
        self._seen.add(text)
        if not self._test(text):
            return False
        if len(text) < len(self.best):
            self.best = text
        return True


def shrink(text: str, test: Callable[[str], bool]) -> str:
    """A smaller text that `test` is true of, as it is of `text`."""
    trials = _Trials(text, test)
    try:
        before = ""
        while trials.best != before:
            before = trials.best
            _without_pieces(trials, before.splitlines(keepends=True))
            _without_nodes(trials, trials.best)
        _without_pieces(trials, _TOKEN.findall(trials.best))
    except _SpentError:
        pass
    return trials.best


def _without_pieces(trials: _Trials, pieces: Sequence[str]) -> None:
    """Delta debugging: leave out runs of pieces, ever shorter ones."""
    kept, size = list(pieces), len(pieces) // 2
    while size:
        start = 0
        while start < len(kept):
            less = kept[:start] + kept[start + size :]
            if trials.passes("".join(less)):
                kept = less
            else:
                start += size
        size //= 2


def _without_nodes(trials: _Trials, text: str) -> None:
    """Take simpler trees as long as there are some."""
    while True:
        for simpler in _simpler(text):
            if len(simpler) <= len(text) and trials.passes(simpler):
                text = simpler
                break
        else:
            return


def _simpler(text: str) -> Iterator[str]:
    """The program with one statement or expression less, one at a time."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in list(ast.walk(tree)):
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                yield from _shorter(tree, value, name)
            elif isinstance(value, ast.expr):
                for other in _instead(value):
                    setattr(node, name, other)
                    yield from _unparsed(tree)
                setattr(node, name, value)
            elif isinstance(value, ast.AST):
                setattr(node, name, None)
                yield from _unparsed(tree)
                setattr(node, name, value)


def _shorter(tree: ast.Module, items: list[ast.AST], name: str) -> Iterator[str]:
    for place, item in enumerate(list(items)):
        changes: list[list[ast.AST]] = [[]]
        if name in _STATEMENTS:
            changes += [getattr(item, part) for part in _STATEMENTS if getattr(item, part, None)]
        elif isinstance(item, ast.expr):
            changes += [[other] for other in _instead(item)]
        for change in changes:
            items[place : place + 1] = change
            yield from _unparsed(tree)
            items[place : place + len(change)] = [item]


def _instead(value: ast.expr) -> Iterator[ast.expr]:
    """What might stand for an expression: a constant, or an expression within it."""
    if not isinstance(value, ast.Constant | ast.Name):
        yield ast.Constant(0)
        yield from (
            child for child in ast.walk(value) if isinstance(child, ast.expr) and child is not value
        )
    elif isinstance(value, ast.Constant) and isinstance(value.value, int) and value.value > 2:
        yield ast.Constant(value.value // 2)
        yield ast.Constant(1)
    elif isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
        yield ast.Constant(value.value[: len(value.value) // 2])
        yield ast.Constant(value.value[1:])


def _unparsed(tree: ast.Module) -> Iterator[str]:
    try:
        text = ast.unparse(ast.fix_missing_locations(tree))
    except (AttributeError, TypeError, ValueError, KeyError, RecursionError):
        return  # a tree that is no program
    yield text
