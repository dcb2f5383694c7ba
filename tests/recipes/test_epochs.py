"""Every example once an epoch, in an order of its own. (What a run does with it: test_sft.)"""

from __future__ import annotations

from reft_megatron.recipes.epochs import Epochs


def plan(*, examples: int = 10, seed: int = 3) -> Epochs:
    return Epochs(lengths=[7] * examples, batch_size=4, count=5, seed=seed)


def test_an_epoch_visits_every_example_once() -> None:
    epochs = plan()
    assert (epochs.steps_each, epochs.steps) == (3, 15)
    for epoch in (1, 2):
        batches = epochs.batches(epoch)
        assert [len(batch) for batch in batches] == [4, 4, 2]
        assert sorted(index for batch in batches for index in batch) == list(range(10))
    assert (plan(examples=8).steps_each, len(plan(examples=8).batches(1))) == (2, 2)


def test_the_order_is_of_the_seed_and_the_epoch_alone() -> None:
    assert plan().batches(1) == plan().batches(1)
    assert plan().batches(1) != plan().batches(2)
    assert plan().batches(1) != plan(seed=4).batches(1)
