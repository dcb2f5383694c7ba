"""What becomes of a completion and of a gold chain before either is learnt from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pytest

from reft_megatron.config import load_config
from reft_megatron.recipes.self_training import gold_texts, sampled_document
from reft_megatron.recipes.session import Session
from reft_megatron.rollouts.schema import to_table
from reft_megatron.rollouts.views import correct
from reft_megatron.tasks import load_task
from reft_megatron.types import Completion, Reason, Rollout, Verdict
from tests.launch import Launcher
from tests.ranks import Ranks
from tests.rollouts.scene import make_rollout

EOS = 2
PROMPT, RESPONSE = [5, 6, 7], [8, 9]


def rollout(sample: int, tokens: list[int], *, finished: bool) -> Rollout:
    made = make_rollout(0, sample, text=str(sample), verdict=Verdict(reason=Reason.CORRECT))
    completion = Completion(
        problem_id="svamp_3",
        sample=sample,
        prompt_ids=np.array(PROMPT, np.int32),
        token_ids=np.array(tokens, np.int32),
        logprobs=np.zeros(len(tokens), np.float32),
        finished=finished,
    )
    return dataclasses.replace(made, completion=completion)


def play_documents(overrides: tuple[str, ...]) -> list[tuple[str, list[int], list[float]]]:
    """Rollouts that ended by a token, by their program's return, by the limit, and without room."""
    config = load_config(None, overrides)
    with Session(config, "sft") as session:
        assert session.tokenizer.eos_id == EOS
        room = config.optimizer.micro_batch_tokens - len(PROMPT)
        rollouts = [
            rollout(0, [*RESPONSE, EOS], finished=True),
            rollout(1, RESPONSE, finished=True),
            rollout(2, RESPONSE, finished=False),
            rollout(3, [8] * room, finished=True),
        ]

        def source(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
            yield from to_table(rollouts).select(columns).to_batches()

        with correct(source, unique=True) as chosen:
            made = [sampled_document(session, chosen, index) for index in range(len(chosen))]
        return [(d.id, d.tokens.tolist(), d.weights.tolist()) for d in made]


@pytest.mark.megatron
def test_a_response_is_learnt_to_its_end(launch: Launcher, ranks: Ranks) -> None:
    (made,) = ranks(1, play_documents, launch.base)
    assert {name for name, _, _ in made} == {"svamp_3"}
    (ended, weights), (returned, weights_too), (cut, few), (full, most) = (d[1:] for d in made)
    assert ended == returned == [*PROMPT, *RESPONSE, EOS]
    assert weights == weights_too == [0, 0, 0, 1, 1, 1]
    assert (cut, few) == ([*PROMPT, *RESPONSE], [0, 0, 0, 1, 1])
    assert len(full) == 160
    assert full[-1] == 8
    assert most == [0] * 3 + [1] * 157


def test_gold_chains_in_a_completions_words(launch: Launcher) -> None:
    task = load_task(launch.config().task)
    problems = task.problems("train")
    assert gold_texts(task, problems) == {problem.id: "    return 7" for problem in problems}
    # One whose docstring words the question otherwise is no completion of its prompt.
    odd = dataclasses.replace(problems[0], question=problems[0].question + " Really?")
    assert gold_texts(task, [odd, problems[1]]) == {problems[1].id: "    return 7"}
