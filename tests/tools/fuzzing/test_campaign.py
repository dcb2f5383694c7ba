"""Batches of programs: what they hold, how they add up, and what becomes of a crash."""

from __future__ import annotations

import os
import sys

import pytest

from tools.fuzzing import campaign
from tools.fuzzing.campaign import BATCH, KINDS, Batch, Setting, Tally, batches
from tools.fuzzing.mutation import SEEDS


@pytest.fixture(autouse=True)
def cpython_3_11() -> None:
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the oracle must be CPython 3.11")


def test_batches_take_turns() -> None:
    made = list(batches(("grammar", "mutate"), 7, 2 * BATCH + 50))
    assert made == [
        Batch("grammar", 7, 0, BATCH),
        Batch("mutate", 7, 0, BATCH),
        Batch("grammar", 7, BATCH, 50),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_decided_by_its_name(kind: str) -> None:
    batch = Batch(kind, 7, 20, 20)
    texts = campaign.programs(batch, SEEDS)
    assert len(texts) == 20
    assert texts == campaign.programs(batch, SEEDS)
    assert texts != campaign.programs(batch._replace(first=40), SEEDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_compared(kind: str) -> None:
    tally = campaign.run_batch(Setting(), Batch(kind, 7, 0, 20))
    assert tally.programs >= 20
    assert tally.differences == []


def test_tallies_add_up() -> None:
    total = Tally()
    for tally in campaign.run(list(batches(("grammar",), 7, 2 * BATCH)), Setting(), jobs=2):
        total.add(tally)
    assert total.programs == 2 * BATCH


def crash_at_14(setting: Setting, batch: Batch) -> Tally:
    if 14 in range(batch.first, batch.first + batch.size):
        os.abort()
    return campaign.run_batch(setting, batch)


def test_a_crash_is_found() -> None:
    total = Tally()
    todo = [Batch("grammar", 7, 13, 2), Batch("grammar", 7, 15, 2)]
    for tally in campaign.run(todo, Setting(), jobs=1, work=crash_at_14):
        total.add(tally)
    assert total.crashed == campaign.programs(Batch("grammar", 7, 14, 1), SEEDS)
    assert total.programs == 4
