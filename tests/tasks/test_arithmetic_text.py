"""Tests of the stories of the arithmetic task: templates, words, numbers."""

from __future__ import annotations

import random
import re
import string

import pytest

from reft_megatron.tasks.arithmetic_text import ROLES, TEMPLATES, Story, apply, draw

SLOT = re.compile(r"\b[1-9]\d?\b")


@pytest.fixture(scope="module")
def stories() -> list[Story]:
    rng = random.Random(0)
    return [draw(rng) for _ in range(3000)]


def written(story: Story) -> str:
    return "; ".join(f"{s.target} = {s.left} {s.operation} {s.right}" for s in story.steps)


def test_every_template_is_drawn_and_has_steps_of_its_own(stories: list[Story]) -> None:
    assert {written(story) for story in stories} == {t.steps for t in TEMPLATES.values()}
    assert len({template.steps for template in TEMPLATES.values()}) == len(TEMPLATES) == 16
    assert {len(story.steps) for story in stories} == {1, 2, 3, 4}


def test_values_come_in_the_order_of_the_text(stories: list[Story]) -> None:
    for story in stories:
        numbers = [int(number) for number in SLOT.findall(story.question)]
        if story.decoy is not None:
            numbers.remove(story.decoy)
        assert sorted(numbers) == sorted(story.values.values())
        if story.decoy is None:
            assert numbers == list(story.values.values())


def test_a_share_of_the_questions_holds_a_number_that_does_not_matter(
    stories: list[Story],
) -> None:
    assert 0.1 < sum(story.decoy is not None for story in stories) / len(stories) < 0.2


def test_the_numbers_of_a_role_stay_in_its_range(stories: list[Story]) -> None:
    for story in stories:
        for role, value in story.values.items():
            _, lowest, highest = ROLES[role.rstrip("2")]
            assert lowest <= value <= highest < 100


def test_words_of_different_roles_are_different() -> None:
    words = [word for role, _, _ in ROLES.values() for word in role]
    assert len(words) == len(set(words))


def test_no_sentence_opens_with_a_number() -> None:
    # A number piece of the task's vocabulary holds the space in front of it.
    for template in TEMPLATES.values():
        for sentence in [*template.ask, *(s for group in template.story for s in group)]:
            text, slot, _, _ = next(iter(string.Formatter().parse(sentence)))
            assert text or slot in {"who", "other"}, sentence


def test_the_same_seed_draws_the_same_story() -> None:
    assert draw(random.Random(7)) == draw(random.Random(7))


@pytest.mark.parametrize(
    ("operation", "left", "right", "value"),
    [
        ("+", 2, 3, 5),
        ("-", 5, 3, 2),
        ("-", 3, 5, None),
        ("-", 3, 3, None),
        ("*", 4, 6, 24),
        ("*", 99, 99, None),
        ("/", 12, 4, 3),
        ("/", 12, 5, None),
        ("/", 12, 0, None),
        ("%", 12, 5, 2),
        ("%", 12, 4, None),
    ],
)
def test_apply_gives_whole_positive_results_only(
    operation: str, left: int, right: int, value: int | None
) -> None:
    assert apply(operation, left, right) == value
