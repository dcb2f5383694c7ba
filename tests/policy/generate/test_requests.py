"""Tickets, and replicas that take them from one queue."""

from __future__ import annotations

import numpy as np
import pytest

from reft_megatron.config import ParallelConfig
from reft_megatron.mesh import Mesh
from reft_megatron.policy import join
from reft_megatron.policy.generate.requests import Queue, Ticket, tickets_of
from reft_megatron.types import Prompt

TICKETS = [Ticket(prompt=number, samples=(0,)) for number in range(10)]


def test_tickets_hold_a_few_samples_of_one_prompt():
    prompts = [
        Prompt(problem_id="a_1", token_ids=np.zeros(1, np.int32), samples=(0, 1, 4, 6, 9)),
        Prompt(problem_id="a_2", token_ids=np.zeros(1, np.int32), samples=()),
        Prompt(problem_id="a_3", token_ids=np.zeros(1, np.int32)),
    ]
    assert tickets_of(prompts, most=2) == [
        Ticket(prompt=0, samples=(0, 1)),
        Ticket(prompt=0, samples=(4, 6)),
        Ticket(prompt=0, samples=(9,)),
        Ticket(prompt=2, samples=(0,)),
    ]


def test_tickets_come_in_order_until_there_are_none():
    queue = Queue(TICKETS, Mesh.single())
    assert [queue.take(count) for count in (3, 0, 6, 4, 1)] == [
        [0, 1, 2],
        [],
        [3, 4, 5, 6, 7, 8],
        [9],
        [],
    ]
    assert queue[9] == TICKETS[9]
    assert Queue([], Mesh.single()).take(5) == []


def play_taking(tensor: int) -> list[list[list[int]]]:
    """What this rank takes in two calls, one and two tickets at a time."""
    mesh = join(ParallelConfig(tensor=tensor), seed=0, timeout_s=300, threads=1)
    found = []
    for count in (1, 2):
        queue, taken = Queue(TICKETS, mesh), []
        while ticket := queue.take(count):
            taken.append(ticket)
        found.append(taken)
    mesh.world.barrier()  # rank 0 holds the store that the others still ask
    return found


@pytest.mark.megatron
@pytest.mark.parametrize("tensor", [1, 2])
def test_each_ticket_falls_to_one_replica(ranks, tensor: int):
    seen = ranks(2 * tensor, play_taking, tensor)
    for call, count in ((0, 1), (1, 2)):
        replicas = [[rank[call] for rank in seen[i : i + tensor]] for i in (0, tensor)]
        for members in replicas:
            assert all(member == members[0] for member in members), "tensor ranks agree"
        taken = [ticket for members in replicas for part in members[0] for ticket in part]
        assert sorted(taken) == list(range(10))
        assert all(len(part) <= count for members in replicas for part in members[0])
