"""Arrays in memory and on the disk read back alike."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reft_megatron.errors import DataError
from reft_megatron.rollouts.schema import to_table
from reft_megatron.rollouts.store import TokenStore
from tests.rollouts.scene import make_rollout

COLUMNS = {"token_ids": np.int32, "logprobs": np.float32}


@settings(max_examples=50, deadline=None)
@given(
    chunks=st.lists(st.integers(0, 5), max_size=8),
    memory_mb=st.sampled_from([0, 0.0002, 0.001, 1]),
)
def test_rows_come_back_from_wherever_they_are(chunks: list[int], memory_mb: float):
    rollouts = [make_rollout(number, 0) for number in range(sum(chunks))]
    with TokenStore(COLUMNS, memory_mb=memory_mb) as store:
        start = 0
        for size in chunks:
            store.append(to_table(rollouts[start : start + size]))
            start += size
        assert len(store) == len(rollouts)
        lengths = [len(rollout.completion.token_ids) for rollout in rollouts]
        assert store.lengths("token_ids").tolist() == lengths
        for i, rollout in reversed(list(enumerate(rollouts))):
            assert store.row("token_ids", i).dtype == np.int32
            assert store.row("token_ids", i).tolist() == rollout.completion.token_ids.tolist()
            assert store.row("logprobs", i).tolist() == rollout.completion.logprobs.tolist()


def test_memory_stays_within_the_bound(tmp_path: Path):
    tables = [to_table([make_rollout(n, sample) for sample in range(20)]) for n in range(30)]
    largest = 20 * 20 * 8
    with TokenStore(COLUMNS, memory_mb=0.01, folder=tmp_path / "spill") as store:
        held = []
        for table in tables:
            store.append(table)
            held.append(store.resident)
        assert max(held) <= 10_000
        assert held[0] > 0
        assert store.spilled > 3 * 10_000
        assert store.spilled + store.resident == 8 * store.lengths("logprobs").sum()
        assert list((tmp_path / "spill").iterdir()) == [], "the file has no name"
    with TokenStore(COLUMNS, memory_mb=0) as store:
        for table in tables:
            store.append(table)
            assert store.resident <= largest, "the newest chunk stays"


def test_a_part_of_a_table_is_stored_as_it_is():
    table = to_table([make_rollout(n, 0) for n in range(6)]).slice(2, 3)
    with TokenStore(COLUMNS, memory_mb=0) as store:
        store.append(table)
        store.append(table.to_batches()[0].slice(1, 1))
        wanted = [make_rollout(n, 0).completion.token_ids.tolist() for n in (2, 3, 4, 3)]
        assert [store.row("token_ids", i).tolist() for i in range(4)] == wanted


def test_a_full_disk_is_a_named_error(tmp_path: Path):
    table = to_table([make_rollout(n, 0) for n in range(100)])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with TokenStore(COLUMNS, memory_mb=0, folder=tmp_path) as store:
        store.append(table)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            with pytest.raises(DataError) as caught:
                store.append(table)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        nbytes = 8 * int(store.lengths("logprobs")[:100].sum())
        assert str(caught.value) == (
            f"cannot write {tmp_path}: File too large; it takes about {nbytes:,} bytes. What was "
            "written before is whole. Free the disk or choose another folder, then resume."
        )
        first = make_rollout(0, 0).completion.token_ids
        assert store.row("token_ids", 0).tolist() == first.tolist(), "still in memory"
