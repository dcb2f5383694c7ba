"""The arithmetic of a GSM8K solution: annotations, and equations in words.

Owns finding each step `48/2 = <<48/2=24>>24 clips` with its value and the words around it. An
equation without annotation, `$48 - $10 = $38 left`, is a step too, if its two sides agree. What
only states a number, `<<30=30>>` or `x = 13`, is no step: every step computes.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Step", "annotated_steps", "evaluate", "written_steps"]

TOLERANCE = 1e-2
"""Absolute difference under which two values are equal, as in ReFT's comparison of answers."""

_ANNOTATION = re.compile(r"<<(?P<left>[^<>]*)=[^<>=]*>>")
_TOKEN = re.compile(
    r"(?P<number>\d+\.?\d*%?|\.\d+%?)|(?P<sign>[-+*/()])|(?P<skip>[A-Za-z']+|[$\s])|(?P<stop>.)"
)
_RIGHT = re.compile(r"\s*\$?(\d+\.?\d*|\.\d+)(%?)")
_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One computation of a solution."""

    expression: ast.expr
    """Numbers joined by + - * /; at least one operation."""
    value: float
    """What it evaluates to."""
    before: str
    """Text of the line ahead of the value, from the end of the step before it."""
    after: str
    """Text of the line behind the equals sign, the value itself first."""


def annotated_steps(solution: str) -> tuple[Step, ...]:
    """The steps that GSM8K annotated, in order."""
    return tuple(step for gap in _gaps(solution) if (step := gap.annotated) is not None)


def written_steps(solution: str) -> tuple[Step, ...]:
    """The annotated steps and the equations written in the text between them, in order."""
    steps: list[Step] = []
    for gap in _gaps(solution):
        steps.extend(_equations(gap.text))
        steps.extend([gap.annotated] if gap.annotated else [])
    return tuple(steps)


def evaluate(node: ast.expr) -> float:
    """The value of an expression of numbers and + - * /.

    Raises:
        ValueError: it holds anything else.
        ZeroDivisionError: it divides by zero.
    """
    match node:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -evaluate(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return evaluate(operand)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _BINARY:
            return _BINARY[type(sign)](evaluate(left), evaluate(right))
    raise ValueError(f"not arithmetic: {ast.unparse(node)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gap:
    """Text from one annotation to the next, or to the end of the line."""

    text: str
    """What stands there."""
    annotated: Step | None
    """The step of the annotation that ends the gap, if it computes."""


def _gaps(solution: str) -> Iterator[_Gap]:
    for line in solution.splitlines():
        marks = list(_ANNOTATION.finditer(line))
        starts = [0, *(mark.end() for mark in marks)]
        ends = [*(mark.start() for mark in marks), len(line)]
        texts = [line[start:end] for start, end in zip(starts, ends, strict=True)]
        for mark, (before, after) in zip(marks, pairwise(texts), strict=True):
            step = _step(mark["left"], before=before, after=after)
            yield _Gap(text=before if step else before + after.split("=")[0], annotated=step)
        yield _Gap(text=texts[-1], annotated=None)


def _step(text: str, *, before: str, after: str) -> Step | None:
    """The step that computes `text`, or None if it is not arithmetic or computes nothing."""
    try:
        expression = ast.parse(text.strip(), mode="eval").body
        value = evaluate(expression)
    except (SyntaxError, ValueError, ZeroDivisionError):
        return None
    if not any(isinstance(node, ast.BinOp) for node in ast.walk(expression)):
        return None
    return Step(expression=expression, value=value, before=before, after=after)


def _equations(text: str) -> Iterator[Step]:
    """Steps of the equations in `text` whose two sides agree."""
    text = _plain_signs(text)
    start = 0
    for equals in re.finditer("=", text):
        right = _RIGHT.match(text, equals.end())
        left = _arithmetic_at_end(text[start : equals.start()])
        if right is None or not left:
            continue
        before, after = text[start : equals.start()], text[equals.end() :]
        for reading in _readings(left, percent=bool(right[2])):
            step = _step(reading, before=before, after=after)
            if step is not None and abs(step.value - float(right[1])) <= TOLERANCE:
                yield step
                start = equals.end()
                break


def _plain_signs(text: str) -> str:
    """`text` with ASCII signs, without thousands commas and without units behind a slash."""
    text = text.translate(str.maketrans("\u00d7\u00f7\u2212\u2013", "*/--"))
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    text = re.sub(r"(?<=[\d)%\s])[xX](?=[\s\d($.])", "*", text)
    return re.sub(r"/\s*[A-Za-z]+", " ", text)


def _arithmetic_at_end(text: str) -> str:
    """The longest arithmetic expression that ends `text`; words between numbers are units."""
    tokens: list[str] = []
    for token in reversed(list(_TOKEN.finditer(text))):
        if token.lastgroup == "skip":
            continue
        operand_follows = bool(tokens) and (tokens[0] == "(" or tokens[0][-1] in "0123456789.%")
        if token.lastgroup == "stop":
            break
        if operand_follows and (token.lastgroup == "number" or token[0] == ")"):
            if tokens[0] != "(" or text[token.end()] != "(":
                break
            tokens.insert(0, "*")
        tokens.insert(0, token[0])
    return " ".join(tokens).lstrip("+*/) -")


def _readings(left: str, *, percent: bool) -> tuple[str, str]:
    """`left` with percentages as plain numbers, and as hundredths.

    `percent` says that the right side is a percentage, so the hundredths are scaled back.
    """
    hundredths = re.sub(r"([\d.]+)%", r"(\1 / 100)", left)
    return left.replace("%", ""), f"({hundredths}) * 100" if percent else hundredths
