"""Micro-batches are made a little ahead of their use, on a thread."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from reft_megatron.errors import DataError
from reft_megatron.rollouts.batch import MicroBatch, lay_out
from reft_megatron.rollouts.feed import MicroBatches


def _make(index: int) -> MicroBatch:
    return lay_out(
        [0], [index + 1], tokens=[np.full(index + 1, 5)], fields={}, pad_id=1, packed=True
    )


def test_every_pass_gives_all_of_them_in_order():
    batches = MicroBatches(7, _make)
    for _ in range(2):
        assert [batch.lengths for batch in batches] == [(n + 1,) for n in range(7)]
    assert len(batches) == 7
    assert batches[-1].lengths == (7,)
    assert [batch.lengths for batch in batches[1:6:2]] == [(2,), (4,), (6,)]
    with pytest.raises(IndexError):
        batches[7]
    assert list(MicroBatches(0, _make)) == []


def test_a_few_are_made_ahead_and_no_more():
    made: list[int] = []
    enough = threading.Semaphore(0)

    def make(index: int) -> MicroBatch:
        assert threading.current_thread().name.startswith("micro-batches")
        made.append(index)
        enough.release()
        return _make(index)

    feed = iter(MicroBatches(100, make, ahead=3))
    next(feed)
    for _ in range(4):
        enough.acquire()
    assert made == [0, 1, 2, 3]
    feed.close()
    assert made == [0, 1, 2, 3]
    assert not [t for t in threading.enumerate() if t.name.startswith("micro-batches")]


def test_what_goes_wrong_is_raised_where_the_micro_batch_would_have_come():
    def make(index: int) -> MicroBatch:
        if index == 2:
            raise DataError("the disk is gone")
        return _make(index)

    seen: list[tuple[int, ...]] = []
    with pytest.raises(DataError, match="the disk is gone"):
        seen.extend(batch.lengths for batch in MicroBatches(5, make))
    assert seen == [(1,), (2,)]
