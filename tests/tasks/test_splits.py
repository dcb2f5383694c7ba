"""The fixed order and the dev split."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from reft_megatron.tasks.splits import carve_dev, shuffled
from reft_megatron.types import Problem

PROBLEMS = [Problem(id=f"svamp_{i}", question=f"q{i}", answer="1") for i in range(50)]


def test_the_order_is_fixed_for_good() -> None:
    ids = [problem.id for problem in shuffled(PROBLEMS)[:4]]
    assert ids == ["svamp_36", "svamp_4", "svamp_3", "svamp_2"]


def test_the_order_of_the_file_does_not_matter() -> None:
    assert shuffled(PROBLEMS[::-1]) == shuffled(PROBLEMS)


@settings(deadline=None)
@given(st.integers(0, 49), st.integers(0, 49))
def test_train_and_dev_are_disjoint_and_neither_moves_with_the_other(one: int, two: int) -> None:
    small, large = sorted([one, two])
    train_large, dev_small = carve_dev(PROBLEMS, small)
    train_small, dev_large = carve_dev(PROBLEMS, large)
    assert {p.id for p in train_small} | {p.id for p in dev_large} == {p.id for p in PROBLEMS}
    assert not set(train_small) & set(dev_large)
    assert dev_large[:small] == dev_small
    assert train_large[: len(train_small)] == train_small


def test_a_twin_of_a_dev_question_never_trains() -> None:
    first = shuffled(PROBLEMS)[0]
    twin = Problem(id="svamp_999", question=first.question, answer="1")
    train, dev = carve_dev([*PROBLEMS, twin], 10)
    assert first in dev
    assert first.question not in {problem.question for problem in train}
    assert len(train) == 40
