"""Names of variables."""

from __future__ import annotations

import pytest

from reft_megatron.tasks.gsm8k_names import Quantity, quantities, step_name, unused


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        ("Natalia sold 48/2 = ", "24 clips in May.", "clips_may"),
        ("24 clips in May and 48+24 = ", "72 clips altogether", "clips_may"),
        ("Working 50 minutes, she earned 0.2 x 50 = $", "10.", "earned_dollars"),
        ("Weng earns 12/60 = $", "0.2 per minute.", "dollars_per_minute"),
        ("Then find the sum: 3 + 4 = ", "7", "sum_2"),
        ("So the discount is 20 * 5 = ", "100%", "discount_percent"),
        ("Ana's boxes hold 3 * 4 = ", "12", "boxes_hold"),
        ("1+1=", "2", "amount"),
    ],
)
def test_steps_are_named_by_the_words_around_them(before: str, after: str, name: str) -> None:
    assert unused(step_name(before, after), ()) == name


def test_given_numbers_are_named_by_the_question() -> None:
    question = "Eve pays $1,200 a month for 3 rooms and 15% tax on 40 angelfish. How much?"
    assert list(quantities(question)) == [
        Quantity(value=1200.0, name="dollars_per_month"),
        Quantity(value=3.0, name="eve_pays_rooms"),
        Quantity(value=15.0, name="percent_tax"),
        Quantity(value=40.0, name="eve_pays_angelfish"),
    ]


@pytest.mark.parametrize(
    "question",
    [
        "She has 5 figs and 5 dates.",
        "She has 2 figs, twice as many dates.",
        "She ate 3/4 of the figs at 7:30 on her 8th birthday.",
        "She has 1 fig.",
        "100 figs, of which 20.5 and 20.5 percent",
    ],
)
def test_a_number_that_could_mean_two_things_has_no_name(question: str) -> None:
    assert list(quantities(question)) == []


def test_a_name_is_used_once_and_never_shadows_python() -> None:
    assert unused("figs", {"dates"}) == "figs"
    assert unused("figs", {"figs", "figs_2"}) == "figs_3"
    assert [unused(name, ()) for name in ("class", "list", "result")] == [
        "class_2",
        "list_2",
        "result_2",
    ]
