from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reft_megatron.errors import ConfigError
from reft_megatron.rollouts import packing
from reft_megatron.rollouts.packing import Plan, pack


def _programs(count: int, seed: int) -> list[int]:
    """Lengths like those of prompts with programs: log-normal, median 270, in 80..700 tokens."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.lognormal(5.6, 0.5, count), 80, 700).astype(int).tolist()


def _tokens(plan: Plan, lengths: list[int]) -> list[int]:
    return [sum(lengths[i] for i in plan.kept(d)) for d in range(len(plan.data))]


@settings(max_examples=200, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 50), max_size=60),
    data_size=st.integers(1, 5),
    max_tokens=st.integers(50, 200),
    multiple_of=st.integers(1, 4),
)
def test_every_plan_keeps_its_promises(
    lengths: list[int], data_size: int, max_tokens: int, multiple_of: int
):
    plan = pack(lengths, data_size=data_size, max_tokens=max_tokens, multiple_of=multiple_of)
    batches = [batch for rank in plan.data for batch in rank]
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in batch) <= max_tokens for batch in batches)
    assert len(plan.data) == data_size
    assert {len(rank) for rank in plan.data} == {plan.num_micro_batches}
    assert plan.num_micro_batches >= 1
    assert plan.num_micro_batches % multiple_of == 0
    assert all(batch == tuple(sorted(batch)) for batch in batches)
    again = pack(lengths, data_size=data_size, max_tokens=max_tokens, multiple_of=multiple_of)
    assert again == plan


@pytest.mark.parametrize("data_size", [2, 4, 8, 16])
@pytest.mark.parametrize("max_tokens", [1024, 4096, 65536])
def test_data_ranks_are_balanced_within_two_percent(data_size: int, max_tokens: int):
    for seed in range(10):
        lengths = _programs(256, seed)
        tokens = _tokens(pack(lengths, data_size=data_size, max_tokens=max_tokens), lengths)
        assert max(tokens) - min(tokens) <= 0.02 * np.mean(tokens)


@pytest.mark.parametrize("max_tokens", [2048, 4096, 16384])
def test_budgets_are_well_used(max_tokens: int):
    lengths = _programs(20_000, seed=0)
    plan = pack(lengths, data_size=4, max_tokens=max_tokens)
    tokens = _tokens(plan, lengths)
    assert sum(tokens) >= 0.97 * 4 * plan.num_micro_batches * max_tokens
    assert max(tokens) - min(tokens) <= 0.02 * np.mean(tokens)


def test_arrays_and_lists_are_packed_alike():
    lengths = _programs(300, seed=3)
    plan = pack(np.array(lengths, np.int32), data_size=2, max_tokens=2048)
    assert plan == pack(lengths, data_size=2, max_tokens=2048)
    assert all(type(i) is int for batch in plan.data[0] for i in batch)


def _one_by_one(lengths: list[int], count: int, *, max_tokens: int) -> list[int] | None:
    """What `_spread` does, the plain way: the tokens of each bin, or None on overflow."""
    heap = [0] * count
    for length in sorted(lengths, reverse=True):
        if heap[0] + length > max_tokens:
            return None
        heapq.heapreplace(heap, heap[0] + length)
    return sorted(heap)


@settings(max_examples=200, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), max_size=80),
    count=st.integers(1, 12),
    max_tokens=st.integers(12, 60),
)
def test_many_at_a_time_is_the_same_as_one_by_one(lengths: list[int], count: int, max_tokens: int):
    tokens = np.array(lengths, np.int64)
    emptiest = packing._spread(tokens, count, max_tokens=max_tokens, fullest=False)
    wanted = _one_by_one(lengths, count, max_tokens=max_tokens)
    assert (emptiest is None) == (wanted is None)
    if emptiest is not None:
        assert sorted(np.bincount(emptiest, tokens, count)) == wanted
    fullest = packing._spread(tokens, count, max_tokens=max_tokens, fullest=True)
    if fullest is not None:
        assert np.bincount(fullest, tokens, count).max() <= max_tokens


def test_too_few_sequences_leave_micro_batches_empty():
    plan = pack([5, 9, 7], data_size=2, max_tokens=10, multiple_of=2)
    assert plan.data == (((1,), ()), ((2,), (0,)))
    assert pack([], data_size=2, max_tokens=10).data == (((),), ((),))


@pytest.mark.parametrize(
    ("lengths", "data_size", "max_tokens"),
    [(_programs(100_000, seed=1), 8, 4096), ([400] * 100_000, 1, 1199)],
    ids=["programs", "two fit where three nearly do"],
)
def test_a_hundred_thousand_sequences_are_packed_in_few_tries(
    monkeypatch: pytest.MonkeyPatch, lengths: list[int], data_size: int, max_tokens: int
):
    tries = []
    spread = packing._spread
    monkeypatch.setattr(packing, "_spread", lambda *a, **k: tries.append(1) or spread(*a, **k))
    pack(lengths, data_size=data_size, max_tokens=max_tokens)
    assert len(tries) <= 4  # two ways with each of two counts; a try takes some 50 ms


def test_a_sequence_above_the_budget_is_refused():
    with pytest.raises(ConfigError) as caught:
        pack([3, 12, 4], data_size=1, max_tokens=10)
    assert str(caught.value) == (
        "sequence 1 has 12 tokens and a micro-batch holds 10; raise "
        "optimizer.micro_batch_tokens to 12 or more, or lower generate.max_new_tokens."
    )
