"""GSM8K's annotated solutions as programs, in the authors' style.

Owns the transformation: each step of the solution becomes an assignment to a variable named by the
words around it; operands are the variables that hold their values; steps that the result does not
need are left out. Pure text to text: programs are executed and checked by `tools/prepare_gsm8k.py`.

The gold answer only decides whether the solution is understood: it must be the value of the last
step (or a hundredth of it is, where a percentage is asked). It is never written into a program.
"""

from __future__ import annotations

import ast
import enum
from collections.abc import Sequence
from dataclasses import dataclass

from reft_megatron.tasks.gsm8k_names import quantities, step_name, unused
from reft_megatron.tasks.gsm8k_steps import TOLERANCE, Step, annotated_steps, written_steps
from reft_megatron.tasks.prompts import program_head

__all__ = ["Draft", "Outcome", "draft_program"]


class Outcome(enum.StrEnum):
    """How a solution was understood, or why not."""

    ANNOTATED = "annotated steps"
    WRITTEN = "annotated steps and equations in sentences"
    PERCENT = "last step times 100, a percentage"
    NO_STEPS = "no arithmetic in the solution (algebra or words)"
    NOT_REACHED = "the last step does not give the answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A program that has not been executed yet, or why there is none."""

    outcome: Outcome
    """Where its steps come from, or why there is none."""
    program: str
    """Source of the program; empty when there is none."""


def draft_program(question: str, solution: str, answer: str) -> Draft:
    """The program that computes what `solution` (with its annotations) computes.

    Args:
        question: text of the problem; it becomes the docstring and names the given numbers.
        solution: GSM8K's solution without its `####` line.
        answer: gold answer, a number without commas.
    """
    gold = float(answer)
    annotated, written = annotated_steps(solution), written_steps(solution)
    if annotated and _equal(annotated[-1].value, gold):
        return _draft(Outcome.ANNOTATED, question, annotated)
    if not written:
        return Draft(outcome=Outcome.NO_STEPS, program="")
    if _equal(written[-1].value, gold):
        return _draft(Outcome.WRITTEN, question, written)
    asks_percent = "percent" in question or "%" in question.rpartition(".")[2]
    if asks_percent and _equal(written[-1].value * 100, gold):
        return _draft(Outcome.PERCENT, question, written)
    return Draft(outcome=Outcome.NOT_REACHED, program="")


def _equal(value: float, gold: float) -> bool:
    return abs(value - gold) <= TOLERANCE


def _draft(outcome: Outcome, question: str, steps: Sequence[Step]) -> Draft:
    body = _Body(question)
    for step in steps:
        body.add(step)
    result = f"{body.last} * 100" if outcome is Outcome.PERCENT else body.last
    lines = [*body.needed_lines(), f"result = {result}", "return result"]
    head = program_head(question, "correct")
    return Draft(outcome=outcome, program=head + "\n".join(f"    {line}" for line in lines))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Variable:
    """One assignment of the program."""

    name: str
    """Its name, unique in the program."""
    expression: ast.expr
    """What is assigned."""
    value: float
    """What that evaluates to."""


class _Body:
    """The assignments of one program, grown step by step."""

    def __init__(self, question: str) -> None:
        self._names = {quantity.value: quantity.name for quantity in quantities(question)}
        self._given: dict[float, _Variable] = {}
        self._computed: list[_Variable] = []
        self._order: list[_Variable] = []
        self._read: set[str] = set()

    @property
    def last(self) -> str:
        """Name of the value computed last."""
        return self._computed[-1].name

    def add(self, step: Step) -> None:
        """Append the assignment of `step`, and those of the given numbers that it reads first."""
        expression = self._named(step.expression, read_here=set())
        name = step_name(step.before, step.after)
        self._computed.append(self._assign(name, expression, step.value))

    def needed_lines(self) -> list[str]:
        """Assignments that the last value depends on, as source lines in order."""
        needed = {self.last}
        lines = []
        for variable in reversed(self._order):
            if variable.name in needed:
                nodes = ast.walk(variable.expression)
                needed.update(node.id for node in nodes if isinstance(node, ast.Name))
                lines.append(f"{variable.name} = {ast.unparse(variable.expression)}")
        return lines[::-1]

    def _named(self, node: ast.expr, read_here: set[str]) -> ast.expr:
        """`node` with the variables that hold its numbers in their place, each read once."""
        match node:
            case ast.Constant(value=int() | float() as value):
                variable = self._holding(value)
                if variable is None or variable.name in read_here:
                    return _number(value)
                read_here.add(variable.name)
                self._read.add(variable.name)
                return ast.Name(id=variable.name)
            case ast.UnaryOp(op=sign, operand=operand):
                return ast.UnaryOp(op=sign, operand=self._named(operand, read_here))
            case ast.BinOp(left=left, op=sign, right=right):
                named = self._named(left, read_here)
                return ast.BinOp(left=named, op=sign, right=self._named(right, read_here))
        return node

    def _holding(self, value: float) -> _Variable | None:
        """The variable that most likely means `value`.

        A computed value that nothing has read yet, else a number that the question names, else
        the value computed last.
        """
        same = [variable for variable in self._computed if abs(variable.value - value) < 1e-9]
        fresh = [variable for variable in same if variable.name not in self._read]
        if not fresh and value in self._names:
            if value not in self._given:
                self._given[value] = self._assign(self._names[value], _number(value), value)
            return self._given[value]
        return next(reversed(fresh or same), None)

    def _assign(self, name: str, expression: ast.expr, value: float) -> _Variable:
        name = unused(name, [variable.name for variable in self._order])
        variable = _Variable(name=name, expression=expression, value=value)
        self._order.append(variable)
        return variable


def _number(value: float) -> ast.Constant:
    return ast.Constant(value=int(value) if value == int(value) else value)
