"""The order of problems: every epoch a permutation, every stretch part of one endless stream."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reft_megatron.recipes.order import epoch_order, take

SIZES = st.integers(1, 40)
SEEDS = st.integers(0, 2**31)


@given(count=SIZES, seed=SEEDS, epoch=st.integers(0, 1000))
def test_an_epoch_visits_everything_once(count: int, seed: int, epoch: int) -> None:
    assert sorted(epoch_order(count, seed=seed, epoch=epoch)) == list(range(count))


def test_epochs_and_seeds_differ() -> None:
    orders = [epoch_order(50, seed=s, epoch=e) for s in (0, 1) for e in (0, 1)]
    assert len(set(map(tuple, orders))) == 4


@given(count=SIZES, seed=SEEDS, start=st.integers(0, 200), sizes=st.lists(st.integers(0, 30)))
def test_stretches_join_to_one_stream(count: int, seed: int, start: int, sizes: list[int]) -> None:
    items = range(count)
    whole = take(items, start=start, count=sum(sizes), seed=seed)
    parts, position = [], start
    for size in sizes:
        parts += take(items, start=position, count=size, seed=seed)
        position += size
    assert parts == whole


@given(count=SIZES, seed=SEEDS, epochs=st.integers(1, 5))
def test_the_stream_visits_everything_once_an_epoch(count: int, seed: int, epochs: int) -> None:
    seen = Counter(take(range(count), start=0, count=count * epochs, seed=seed))
    assert seen == dict.fromkeys(range(count), epochs)


def test_the_stream_never_changes() -> None:
    """A resumed run of another day must see the same problems."""
    assert "".join(take("abcdefg", start=5, count=12, seed=3)) == "dacbeafgdeac"


def test_nothing_to_take_from() -> None:
    with pytest.raises(ZeroDivisionError):
        take([], start=0, count=1, seed=0)
