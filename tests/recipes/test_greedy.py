"""Greedy answers: every rank learns what each was judged by; top-1 is their share."""

from __future__ import annotations

from typing import Any

import pytest

from reft_megatron.config import load_config
from reft_megatron.recipes.greedy import greedy_answers, top1
from reft_megatron.recipes.session import Session
from tests.launch import Launcher, Run
from tests.ranks import Ranks


def play(arguments: tuple[str, ...]) -> tuple[dict[str, Any], float]:
    with Session(load_config(None, arguments), "evaluate") as session:
        policy = session.build(total_steps=None)
        session.start_untrained(policy)
        problems = session.task.problems("dev")
        answers = greedy_answers(session, policy, problems)
        told = {name: (a.text, a.verdict.correct, a.reward) for name, a in answers.items()}
        return told, top1(session, policy, problems)


@pytest.mark.megatron
def test_every_rank_learns_all_answers(ranks: Ranks, launch: Launcher, warm: Run) -> None:
    lengths = launch.prompt_lengths("dev")
    limit = min(lengths.values())
    best = warm.folder / "checkpoints" / "best"
    given = (*launch.base, f"model.load={best}", f"generate.max_prompt_tokens={limit}")
    ((wanted, share),) = ranks(1, play, (*given, "run.name=greedy"))
    fitting = {name for name, length in lengths.items() if length <= limit}
    assert wanted.keys() == fitting != lengths.keys()
    right = [correct for _, correct, _ in wanted.values()]
    assert share == sum(right) / len(lengths), "what cannot be asked counts as wrong"
    assert [reward == 1 for _, _, reward in wanted.values()] == right
    assert 0 < sum(right) < len(right), "the story needs right and wrong ones"
    for told in ranks(2, play, (*given, "run.name=greedy-apart")):
        assert told == (wanted, share)
