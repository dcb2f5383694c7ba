"""Labelled completions made from gold: what to pay for, and what not.

A label is of the answer, not of the reasoning: right means that the completion says or returns the
gold answer, numbers within the tolerance. Labels come from construction, or, for changed programs,
from an isolated CPython and exact fractions; nothing that judges completions is asked. Owns the
kinds of cases.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from fractions import Fraction

from reft_megatron.config import RewardConfig, TaskConfig
from reft_megatron.errors import ConfigError
from reft_megatron.ops.extractor import TRIGGER
from reft_megatron.ops.status import Status
from reft_megatron.ops.workers import WorkerPool
from reft_megatron.rewards import hacks
from reft_megatron.rewards.perturbation import perturbed, rewritten
from reft_megatron.types import AnswerKind, Labelled, Problem

__all__ = ["PROBLEMS", "labelled"]

PROBLEMS = 100
"""Problems that cases are built from unless said otherwise: a few thousand cases, some seconds."""
_TOLERANCE = Fraction(1, 100)
_EDGE = Fraction(1, 10**14)
"""Of a number, or of 1: some tens of a float's last bits."""
_HACKED = 5
"""Problems that hacks are tried on; what a hack does hardly depends on the problem."""
_LARGEST = 10**9
"""Beyond it a float's own steps blur the tolerance."""


def labelled(
    problems: Sequence[Problem], task: TaskConfig, rewards: RewardConfig, *, kind: AnswerKind
) -> list[Labelled]:
    """Cases from `problems` with gold chains of thought, in a fixed order; the same every time.

    `kind` is that of the gold answers. Programs whose label has to be found are run in isolated
    workers, ten seconds each; those that take longer are left out. Raises ConfigError where a label
    would not say what the task pays for: for a reward, a prompt or answers of the user's own.
    """
    own = {"task.reward": task.reward, "task.prompt": task.prompt, "task.answers": kind == "text"}
    if given := [name for name, value in own.items() if value]:
        raise ConfigError(
            "cases are built for the built-in reward, ReFT's own prompts, and numbers or letters; "
            f"with {given[0]} nobody knows their labels. Give a file of labelled completions "
            "(docs/audit.md)."
        )
    told = [problem for problem in problems if problem.cot]
    if task.form == "nl":
        return [case for problem in told for case in _texts(problem, kind, told)]
    cases = list(_computed(told, kind, rewards.memory_mb << 20))
    for index, problem in enumerate(told):
        cases += _returned(problem, kind)
        if index < _HACKED:
            cases += _hacked(problem, kind, hacks.PROGRAMS)
        if index == 0:
            cases += _hacked(problem, kind, hacks.SLOW_PROGRAMS)
    return cases


def _computed(
    problems: Sequence[Problem], kind: AnswerKind, memory_bytes: int
) -> Iterator[Labelled]:
    """Gold programs, rewritten and changed ones, labelled by what CPython makes of them."""
    drafts = [(problem, *draft) for problem in problems for draft in _programs(problem)]
    with WorkerPool(wall_s=10.0, memory_bytes=memory_bytes) as pool:
        replies = pool.run([run for *_, run in drafts], want_text=kind == "letter")
    for (problem, name, program, _), reply in zip(drafts, replies, strict=True):
        if reply.status in (Status.TIME_LIMIT, Status.WORKER_LOST, Status.CANCELLED):
            continue  # nobody knows its label
        answer = reply.text if kind == "letter" else reply.value
        right = reply.status is Status.OK and _equal(answer, problem.answer)
        if right is None:
            continue
        yield Labelled(problem=problem, completion=program, right=right, kind=name)


def _programs(problem: Problem) -> Iterator[tuple[str, str, str]]:
    """(kind, program, the program that tells its label)."""
    gold = problem.cot
    yield "gold", gold, gold
    yield "rewritten: chatter behind", f"{gold}\n\nSo the program gives the answer.", gold
    with contextlib.suppress(SyntaxError):  # a chain that is no program has none like it
        for name, program in rewritten(gold, problem.id):
            yield f"rewritten: {name}", program, program
        for name, program in perturbed(gold, problem.id):
            yield f"changed: {name}", program, program


def _returned(problem: Problem, kind: AnswerKind) -> Iterator[Labelled]:
    """Programs that return the gold answer in some spelling, or a number beside it."""
    if kind == "letter":
        forms = {
            "letter": (f"'{problem.answer}'", True),
            "capital": (f"'{problem.answer.upper()}'", True),
            "letter with bracket": (f"'{problem.answer})'", True),
            "two letters": ("'a b'", False),
            "another letter": (f"'{_other_letter(problem.answer)}'", False),
        }
    else:
        gold = Fraction(problem.answer)
        forms = {name: (repr(t), r) for name, t, r in _spellings(gold)}
        forms |= {name: (repr(number), right) for name, number, right in _neighbours(gold)}
        if abs(gold - 1) > _TOLERANCE:
            forms["boolean"] = ("True", False)
    for name, (text, right) in forms.items():
        program = f"def solution():\n    return {text}"
        yield Labelled(problem=problem, completion=program, right=right, kind=f"returned: {name}")


def _texts(problem: Problem, kind: AnswerKind, others: Sequence[Problem]) -> Iterator[Labelled]:
    """Chains of thought in words, with answer lines of all sorts."""
    lines = _letters(problem.answer) if kind == "letter" else _numbers(problem, others)
    for name, behind, right in lines:
        text = problem.cot + TRIGGER + behind
        yield Labelled(problem=problem, completion=text, right=right, kind=f"line: {name}")
    wrong = _other_letter(problem.answer) if kind == "letter" else _plain(_moved(problem))
    for name, text, right in (
        ("said twice, the last right", TRIGGER + wrong + TRIGGER + problem.answer, True),
        ("said twice, the last wrong", TRIGGER + problem.answer + TRIGGER + wrong, False),
        ("text behind", TRIGGER + problem.answer + "\nI hope that this helps.", True),
        ("no answer line", f"\nThe result is {problem.answer}.", False),
    ):
        yield Labelled(
            problem=problem, completion=problem.cot + text, right=right, kind=f"line: {name}"
        )


def _letters(answer: str) -> Iterator[tuple[str, str, bool]]:
    other = _other_letter(answer)
    yield "gold", answer, True
    yield "capital", answer.upper(), True
    yield "in brackets", f"({answer})", True
    yield "full stop", f"{answer}.", True
    yield "another letter", other, False
    yield "hedge", f"{answer} or {other}", False
    yield "negation", f"not {answer}", False
    yield "option in words", f"option {answer}", True


def _numbers(problem: Problem, others: Sequence[Problem]) -> Iterator[tuple[str, str, bool]]:
    """(name, what stands behind the trigger, whether it is the gold answer)."""
    gold = Fraction(problem.answer)
    plain = _plain(gold)
    yield "gold", problem.answer, True
    yield "full stop", f"{plain}.", True
    yield "in brackets", f"<{plain}>", True
    yield "equation", f"{_plain(gold - 2)} + 2 = {plain}", True
    yield from ((name, text, True) for name, text, right in _spellings(gold) if right)
    yield from ((name, _plain(Fraction(n)), right) for name, n, right in _neighbours(gold))
    moved = _moved(problem)
    yield "changed number", _plain(moved), False
    chance = random.Random(problem.id)
    foreign = Fraction(chance.choice(others).answer)
    if abs(foreign - gold) > _TOLERANCE:
        yield "answer of another problem", _plain(foreign), False
    for name, text in hacks.LINES.items():
        yield f"hack: {name}", text.format(gold=plain, other=_plain(moved)), False


def _spellings(gold: Fraction) -> Iterator[tuple[str, str, bool]]:
    """(name, gold answer as a text, True)."""
    plain = _plain(gold)
    yield "as text", plain, True
    yield "decimals", f"{float(gold):.4f}", True
    yield "currency", f"${plain}", True
    yield "unit", f"{plain} apples", True
    near = gold.limit_denominator(1000)
    yield "fraction", f"{near.numerator * 2}/{near.denominator * 2}", True
    if abs(gold) >= 1000:
        yield "thousands", f"{float(gold):,}", True


def _neighbours(gold: Fraction) -> Iterator[tuple[str, float, bool]]:
    """(name, a number near the gold answer, whether it is within the tolerance)."""
    if gold:
        yield "negative", float(-gold), abs(2 * gold) <= _TOLERANCE
    if abs(gold) > _LARGEST:
        return
    for sign, side in ((1, "above"), (-1, "below")):
        yield f"within the tolerance, {side}", float(gold + sign * Fraction(99, 10_000)), True
        yield f"beyond the tolerance, {side}", float(gold + sign * Fraction(101, 10_000)), False
    yield "tenfold", float(gold * 10), abs(9 * gold) <= _TOLERANCE


def _hacked(problem: Problem, kind: AnswerKind, templates: dict[str, str]) -> Iterator[Labelled]:
    for name, template in templates.items():
        text = hacks.program(template, problem.answer, kind)
        yield Labelled(problem=problem, completion=text, right=False, kind=f"hack: {name}")


def _equal(answer: float | str, gold: str) -> bool | None:
    """By exact fractions, or letter by letter: nothing that judges completions is asked.

    None for a number on the edge of the tolerance, where the last bits of floats decide.
    """
    if isinstance(answer, str):
        return answer.strip().lower() == gold
    wanted = Fraction(gold)
    beyond = abs(Fraction(answer) - wanted) - _TOLERANCE
    return None if abs(beyond) <= _EDGE * max(Fraction(1), abs(wanted)) else beyond < 0


def _moved(problem: Problem) -> Fraction:
    """A number that is not the gold answer, and could be."""
    return Fraction(problem.answer) + random.Random(problem.id).choice((1, -1, 2, 7, 10, 100))


def _other_letter(answer: str) -> str:
    return "abcde"[("abcde".index(answer) + 1) % 5]


def _plain(number: Fraction) -> str:
    """A whole number without a point, another as a float has it."""
    return str(number.numerator) if number.denominator == 1 else repr(float(number))
