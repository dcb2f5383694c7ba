"""A burst writes what single steps write, and idle rows leave no trace."""

from __future__ import annotations

import torch

from reft_megatron.ops.sampling import Sampling
from reft_megatron.policy.cache import Cache, Mixed, Piece
from reft_megatron.policy.generate.burst import Burst
from reft_megatron.policy.generate.lane import Step
from tests.policy.scene import cpu_cache

PROMPTS = ([5, 9, 3], [8, 8, 41, 4, 60])
KEYS = torch.tensor([[1, 2], [3, 4]])


def cache_of(policy, rows: int = 3) -> Cache:
    """Both prompts read, in rows 0 and 1."""
    config = policy.chunks[0].config
    cache = cpu_cache(
        [1, 2, 3, 4],
        rows=rows,
        positions=40,
        heads=config.num_query_groups,
        size=config.kv_channels,
    )
    for row, prompt in enumerate(PROMPTS):
        positions = torch.arange(len(prompt))
        layout = Mixed(
            cache, positions, decoding=0, pieces=[Piece(row=row, start=0, length=len(prompt))]
        )
        policy.chunks[0](
            torch.tensor([prompt]), positions[None], layout, lambda model, hidden: hidden
        )
    return cache


def step(tokens: list[int], positions: list[int]) -> Step:
    return Step(
        tokens=torch.tensor([tokens]),
        positions=torch.tensor([positions]),
        decoding=2,
        pieces=(),
        after=torch.arange(2),
        keys=KEYS,
        places=torch.tensor(positions) + 1,
    )


def burst_of(policy, cache: Cache, steps: int) -> Burst:
    return Burst(
        policy.chunks[0], cache, policy.mesh, slots=3, steps=steps, sampling=Sampling(seed=3)
    )


@torch.no_grad()
def test_five_steps_at_once_are_five_steps(still):
    together, apart = cache_of(still), cache_of(still)
    tokens, logprobs, computed = burst_of(still, together, 8).run(step([7, 11], [3, 5]), 5)
    assert computed == 10
    single, newest = burst_of(still, apart, 1), [7, 11]
    for at in range(5):
        drawn, its, _ = single.run(step(newest, [3 + at, 5 + at]), 1)
        newest = [row[0] for row in drawn]
        assert newest == [row[at] for row in tokens]
        assert [row[0] for row in its] == [row[at] for row in logprobs]
    for number in (1, 2, 3, 4):
        for one, other in zip(together.layer(number), apart.layer(number), strict=True):
            assert torch.equal(one, other)
            assert not one[2].any(), "nobody is in the third row"
            assert not one[0, :, 8:].any()


@torch.no_grad()
def test_idle_rows_change_nothing(still):
    """A GPU computes more rows than there are slots in use, and rehearses on idle ones alone."""
    cache = cache_of(still)
    before = [x.clone() for x in cache.layer(1)]
    burst = burst_of(still, cache, 2)
    burst._positions.fill_(-1)
    burst._advance(3)
    assert all(map(torch.equal, cache.layer(1), before))
    assert burst._positions.tolist() == [-1, -1, -1]


def test_batches_come_in_few_sizes_within_the_cache(still):
    burst = burst_of(still, cpu_cache([1], rows=22, positions=1, heads=1, size=1), 1)
    sizes = {rows: burst._batch(rows) for rows in range(1, 22)}
    assert [sizes[rows] for rows in (1, 2, 3, 4, 5, 8, 9, 16, 17, 21)] == [
        *(1, 2, 4, 4, 8, 8, 16, 16, 22, 22),
    ]


@torch.no_grad()
def test_a_new_batch_may_follow_a_full_burst(still):
    """What a graph's rehearsal does: a step on idle rows, from the first place on."""
    burst = burst_of(still, cache_of(still, rows=9), 4)
    wanted = burst.run(step([7, 11], [3, 5]), 4)
    burst._positions.fill_(-1)
    burst._at.zero_()
    burst._advance(burst._batch(3))
    again = burst_of(still, cache_of(still, rows=9), 4)
    assert again.run(step([7, 11], [3, 5]), 4) == wanted
