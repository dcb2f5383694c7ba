"""Lanes by themselves: no model, the tokens are made up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from reft_megatron.ops.sampling import sequence_key
from reft_megatron.policy.cache import Piece
from reft_megatron.policy.generate.lane import Lane, Rules, Step, Stop
from reft_megatron.policy.generate.requests import Ticket
from reft_megatron.types import Completion, Prompt
from tests.policy.scene import cpu_cache

EOS = 2
CPU = torch.device("cpu")


class Scene:
    """A lane with a recording cache; what it finished."""

    def __init__(
        self,
        *lengths: int,
        slots: int = 4,
        budget: int = 5,
        new: int = 100,
        stop: Stop = lambda problem_id, sample, tokens: False,
    ) -> None:
        self.prompts = [
            Prompt(problem_id=f"p_{i}", token_ids=np.arange(100 * i, 100 * i + n, dtype=np.int32))
            for i, n in enumerate(lengths)
        ]
        self.done: list[Completion] = []
        self.cache = cpu_cache([1], rows=slots + 3, positions=60, heads=1, size=1)
        self.lane = Lane(
            self.prompts,
            [self.cache],
            slots=slots,
            prefill_rows=3,
            prefill_tokens=budget,
            rules=Rules(seed=9, eos_id=EOS, max_new_tokens=new, stop=stop),
            on_finish=self.done.append,
        )

    def step(self) -> Step:
        """The next step, whose tokens are written to the cache as the model would."""
        step = self.lane.step(CPU)
        keys, _ = self.cache.layer(1)
        rows = [*range(step.decoding), *(p.row for p in step.pieces for _ in range(p.length))]
        keys[rows, 0, step.positions[0], 0] = step.tokens[0].float()
        return step

    def draw(self, *tokens: int) -> None:
        self.draw_many(*([token] for token in tokens))

    def draw_many(self, *tokens: list[int]) -> None:
        self.lane.absorb(tokens, [[-0.5 * token for token in row] for row in tokens])

    def row(self, number: int, length: int) -> list[int]:
        return self.cache.layer(1)[0][number, 0, :length, 0].int().tolist()


def told(completion: Completion) -> tuple[str, int, list[int], bool]:
    tokens = completion.token_ids.tolist()
    assert completion.logprobs.tolist() == [-0.5 * token for token in tokens]
    return completion.problem_id, completion.sample, tokens, completion.finished


def test_a_long_prompt_is_read_in_pieces_beside_the_others():
    scene = Scene(7, 4)
    scene.lane.admit([Ticket(prompt=0, samples=(0, 1)), Ticket(prompt=1, samples=(5,))])
    step = scene.step()
    first, second = step.pieces[0].row, 0
    assert step.pieces == (Piece(row=first, start=0, length=5),)
    assert (step.decoding, step.draws, step.tokens.tolist()) == (0, 0, [[0, 1, 2, 3, 4]])
    scene.draw()
    step = scene.step()
    second = step.pieces[1].row
    assert step.pieces == (
        Piece(row=first, start=5, length=2),
        Piece(row=second, start=0, length=3),
    )
    assert step.positions.tolist() == [[5, 6, 0, 1, 2]]
    # Both samples are drawn after the prompt's last token, each with its own key.
    assert step.after.tolist() == [1, 1]
    assert step.places.tolist() == [7, 7]
    assert step.keys.tolist() == [list(sequence_key(9, "p_0", s)) for s in (0, 1)]
    scene.draw(11, 12)
    assert scene.row(0, 7) == scene.row(1, 7) == [0, 1, 2, 3, 4, 5, 6]
    step = scene.step()
    assert step.decoding == 2
    assert step.tokens.tolist() == [[11, 12, 103]]
    assert step.positions.tolist() == [[7, 7, 3]]
    assert step.after.tolist() == [0, 1, 2]
    assert step.places.tolist() == [8, 8, 4]
    scene.draw(EOS, 13, 14)
    # The new sequence takes the place of the one that ended.
    assert [told(c) for c in scene.done] == [("p_0", 0, [11, EOS], True)]
    assert scene.row(0, 4) == [100, 101, 102, 103]
    assert scene.step().tokens.tolist() == [[14, 13]]


def test_the_last_takes_the_place_of_one_that_ends():
    scene = Scene(2, budget=50)
    scene.lane.admit([Ticket(prompt=0, samples=(0, 1, 2, 3))])
    scene.step()
    scene.draw(20, 21, 22, 23)
    scene.step()
    scene.draw(EOS, 31, EOS, 33)
    step = scene.step()
    assert step.tokens.tolist() == [[33, 31]]
    assert scene.row(0, 4) == [0, 1, 23, 33]
    assert scene.row(1, 4) == [0, 1, 21, 31]
    scene.draw(EOS, EOS)
    assert scene.lane.empty
    assert [c.sample for c in scene.done] == [0, 2, 3, 1]


def test_sequences_end_at_the_limit_and_where_they_stop():
    ends = {("p_0", 0): [40, 41]}

    def stop(problem_id: str, sample: int, tokens: Sequence[int]) -> bool:
        return ends.get((problem_id, sample)) == tokens

    scene = Scene(1, 1, budget=50, new=3, stop=stop)
    scene.lane.admit([Ticket(prompt=0, samples=(0,)), Ticket(prompt=1, samples=(0,))])
    for tokens in ((40, 50), (41, 51), (52,)):
        scene.step()
        scene.draw(*tokens)
    assert [told(c) for c in scene.done] == [
        ("p_0", 0, [40, 41], True),
        ("p_1", 0, [50, 51, 52], False),
    ]
    assert scene.lane.empty


def test_a_response_of_one_token_needs_no_slot():
    scene = Scene(1, slots=1, budget=50)
    scene.lane.admit([Ticket(prompt=0, samples=(0,))])
    scene.step()
    scene.draw(EOS)
    assert scene.lane.empty
    assert [told(c) for c in scene.done] == [("p_0", 0, [EOS], True)]


def test_it_wants_what_fills_its_slots():
    scene = Scene(9, 9, 9, 9, slots=5, budget=4)
    assert [scene.lane.wants(samples) for samples in (1, 2, 5, 6)] == [3, 3, 1, 1]
    scene.lane.admit([Ticket(prompt=0, samples=(0, 1))])
    assert [scene.lane.wants(samples) for samples in (1, 2, 4)] == [2, 2, 1]
    for drawn in ((), (), (7, 7)):
        scene.step()
        scene.draw(*drawn)
    assert [scene.lane.wants(samples) for samples in (1, 2, 4)] == [3, 2, 1]
    scene.lane.admit([Ticket(prompt=1, samples=(0, 1, 2, 3))])
    assert scene.lane.wants(1) == 0, "one of the four will wait for a slot"


def test_who_finds_no_slot_waits_beside_its_prompt():
    scene = Scene(2, 1, slots=3, budget=50)
    scene.lane.admit([Ticket(prompt=0, samples=(0, 1, 2, 3)), Ticket(prompt=1, samples=(0,))])
    scene.step()
    scene.draw(20, 21, 22, 23, 30)
    assert scene.step().tokens.tolist() == [[20, 21, 22]]
    scene.draw(EOS, 31, EOS)
    # In the order they came; the third slot goes to the next prompt's.
    step = scene.step()
    assert (step.tokens.tolist(), step.positions.tolist()) == ([[23, 31, 30]], [[2, 3, 1]])
    assert scene.row(0, 2) == [0, 1]
    assert scene.row(2, 1) == [100]
    scene.draw(EOS, EOS, EOS)
    assert scene.lane.empty
    assert {c.sample for c in scene.done if c.problem_id == "p_0"} == {0, 1, 2, 3}


def test_steps_unwatched_end_sequences_where_they_end():
    scene = Scene(1, budget=50, new=9)
    scene.lane.admit([Ticket(prompt=0, samples=(0, 1, 2))])
    assert scene.lane.unwatched(4) == 1, "a prompt is being read"
    scene.step()
    scene.draw(10, 20, 30)
    assert [scene.lane.unwatched(most) for most in (4, 100)] == [4, 8]
    scene.step()
    scene.draw_many([11, EOS, 12, 13], [21, 22, 23, 24], [EOS, EOS, 31, 32])
    assert [told(c) for c in scene.done] == [
        ("p_0", 0, [10, 11, EOS], True),
        ("p_0", 2, [30, EOS], True),
    ]
    step = scene.step()
    assert (step.tokens.tolist(), step.positions.tolist()) == ([[24]], [[5]])
    assert scene.lane.unwatched(100) == 4
