from __future__ import annotations

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


def test_budgets_are_well_used():
    lengths = _programs(2048, seed=0)
    plan = pack(lengths, data_size=4, max_tokens=4096)
    assert plan.num_micro_batches <= 1.05 * sum(lengths) / (4 * 4096) + 1


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
    assert len(tries) <= 3  # each takes about a tenth of a second


def test_a_sequence_above_the_budget_is_refused():
    with pytest.raises(ConfigError) as caught:
        pack([3, 12, 4], data_size=1, max_tokens=10)
    assert str(caught.value) == (
        "sequence 1 has 12 tokens and a micro-batch holds 10; raise "
        "optimizer.micro_batch_tokens to 12 or more, or lower generate.max_new_tokens."
    )
