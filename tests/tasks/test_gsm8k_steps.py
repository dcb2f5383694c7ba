"""Finding the arithmetic of a solution."""

from __future__ import annotations

import ast

import pytest

from reft_megatron.tasks.gsm8k_steps import Step, annotated_steps, evaluate, written_steps


def shown(steps: tuple[Step, ...]) -> list[tuple[str, float]]:
    return [(ast.unparse(step.expression), step.value) for step in steps]


def test_annotations_become_steps_with_the_words_around_them() -> None:
    first, second = annotated_steps("She sold 48/2 = <<48/2=24>>24 in May and 3+4=<<3+4=7>>7 more")
    assert (ast.unparse(first.expression), first.value) == ("48 / 2", 24.0)
    assert (first.before, first.after) == ("She sold 48/2 = ", "24 in May and 3+4=")
    assert (second.before, second.after) == ("24 in May and 3+4=", "7 more")


@pytest.mark.parametrize(
    "solution",
    ["So x = <<30=30>>30.", "x = 13", "It is <<-5=-5>>.", "<<3+=3>>", "<<1/0=0>>", "<<a+b=3>>", ""],
)
def test_what_computes_nothing_is_no_step(solution: str) -> None:
    assert written_steps(solution) == ()


@pytest.mark.parametrize(
    ("sentence", "expression", "value"),
    [
        ("Reggie has $48 \u2212 $10 = $38 left.", "48 - 10", 38),
        ("They need 600+1,000=1,600 buttons", "600 + 1000", 1600),
        ("She has 128 cups of basil so she makes 128/4 = 32 cups", "128 / 4", 32),
        ("60 minutes/hour / 2 minutes/mile = 30 miles/hour", "60 / 2", 30),
        ("Then 5 \u00d7 3 \u00f7 2 = 7.5", "5 * 3 / 2", 7.5),
        ("He sees 6 sets x every 2 hours = 12 hours.", "6 * 2", 12),
        ("State quarters:35(2/5)=14 quarters", "35 * (2 / 5)", 14),
        ("3/6 * 100% = 50%", "3 / 6 * 100", 50),
        ("200 games * 63% = 126 games", "200 * (63 / 100)", 126),
        ("75% * 80% * 40% = 24%", "75 / 100 * (80 / 100) * (40 / 100) * 100", 24),
        ("It costs $450 / (75/100) = $600.", "450 / (75 / 100)", 600),
    ],
)
def test_equations_in_sentences_become_steps(sentence: str, expression: str, value: float) -> None:
    assert shown(written_steps(sentence)) == [(expression, pytest.approx(value))]


@pytest.mark.parametrize(
    "sentence", ["2 + 2 = 5", "x + 3 = 8", "158 * 1 1/2 = 237", "12:10+2:00 = 2:10", "3x = 12"]
)
def test_an_equation_whose_sides_differ_is_no_step(sentence: str) -> None:
    assert written_steps(sentence) == ()


def test_an_annotation_of_the_value_alone_is_read_with_its_sentence() -> None:
    assert shown(written_steps("They use 12+24 = <<36=36>>36 spoons")) == [("12 + 24", 36)]


def test_annotated_and_written_steps_keep_their_order() -> None:
    solution = "Then 2*3 = 6, and 6*2 = <<6*2=12>>12 figs.\nSo 12 - 2 = 10 are left."
    assert shown(written_steps(solution)) == [("2 * 3", 6), ("6 * 2", 12), ("12 - 2", 10)]
    assert shown(annotated_steps(solution)) == [("6 * 2", 12)]


def test_evaluation_is_arithmetic_only() -> None:
    def value(text: str) -> float:
        return evaluate(ast.parse(text, mode="eval").body)

    assert value("-(1 + 2) * 3 / +4 - .5") == -2.75
    with pytest.raises(ValueError, match=r"^not arithmetic: 2 \*\* 3$"):
        value("2 ** 3")
    with pytest.raises(ValueError, match=r"^not arithmetic: f\(\)$"):
        value("1 + f()")
