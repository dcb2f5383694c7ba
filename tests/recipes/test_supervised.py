"""Documents and the token mean: by hand, and the same over ranks and micro-batches."""

from __future__ import annotations

import numpy as np
import pytest

from reft_megatron.config import load_config
from reft_megatron.recipes.session import Session
from reft_megatron.recipes.supervised import Document, document
from reft_megatron.rollouts.batch import lay_out
from tests.launch import Launcher
from tests.ranks import Ranks

pytestmark = pytest.mark.megatron
ONE_STEP = ("sft.epochs=1", "sft.batch_size=32", "task.dev_size=8")


def play_by_hand(overrides: tuple[str, ...]) -> tuple[float, int]:
    """Minus the mean log-prob of the learnt tokens under random weights, one document at a time."""
    config = load_config(None, overrides)
    with Session(config, "sft") as session:
        policy = session.build(total_steps=None)
        total, count = 0.0, 0
        for problem in session.task.problems("train"):
            given, learnt = session.task.supervised_text(problem)
            head = session.tokenizer.encode(given)
            tail = [*session.tokenizer.encode_continuation(learnt), session.tokenizer.eos_id]
            tokens = np.array(head + tail)
            batch = lay_out(
                [0], [len(tokens)], tokens=[tokens], fields={}, pad_id=0, packed=False,
                device=session.mesh.device,
            )  # fmt: skip
            logprobs = policy.score([batch])["logprobs"][0]
            total -= logprobs[len(head) :].double().sum().item()
            count += len(tail)
        return total / count, count


@pytest.mark.parametrize("world", [1, 2])
def test_the_loss_is_the_mean_over_all_tokens(launch: Launcher, ranks: Ranks, world: int) -> None:
    ((by_hand, count),) = ranks(1, play_by_hand, (*launch.base, *ONE_STEP))
    run = launch(world, "sft", f"mean-{world}", *ONE_STEP, "optimizer.micro_batch_tokens=200")
    assert count > 32 * 10
    assert run.series("train/loss") == [pytest.approx(by_hand, rel=1e-5)]


def play_documents(overrides: tuple[str, ...]) -> tuple[list[Document], list[list[int]]]:
    """Two documents of `ab`, `cde`, and their tokens."""
    config = load_config(None, overrides)
    with Session(config, "sft") as session:
        made = [document(session, "ab", "cde", name="x", given_weight=w) for w in (0.0, 0.25)]
        coder = session.tokenizer
        return made, [coder.encode("ab"), [*coder.encode_continuation("cde"), coder.eos_id]]


def test_a_document_is_cut_and_weighed(launch: Launcher, ranks: Ranks) -> None:
    (((plain, weighted), (head, tail)),) = ranks(1, play_documents, launch.base)
    assert plain.tokens.tolist() == weighted.tokens.tolist() == head + tail
    assert plain.weights.tolist() == [0.0] * len(head) + [1.0] * len(tail)
    assert weighted.weights.tolist() == [0.0, *[0.25] * (len(head) - 1), *[1.0] * len(tail)]
    assert len(head) > 1
