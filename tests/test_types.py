"""Tests of the nouns."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from reft_megatron.types import Completion, Problem, Reason, Rollout, Verdict


def completion(prompt: int, response: int) -> Completion:
    return Completion(
        problem_id="arithmetic_1",
        sample=0,
        prompt_ids=np.zeros(prompt, np.int32),
        token_ids=np.zeros(response, np.int32),
        logprobs=np.zeros(response, np.float32),
        finished=True,
    )


@pytest.mark.parametrize(("prompt", "response", "length"), [(3, 2, 5), (1, 0, 1), (0, 4, 4)])
def test_length_counts_prompt_and_response(prompt: int, response: int, length: int) -> None:
    assert completion(prompt, response).length == length


def test_only_one_reason_is_correct_and_two_have_an_answer() -> None:
    correct = [reason for reason in Reason if Verdict(reason=reason).correct]
    extracted = [reason for reason in Reason if Verdict(reason=reason).extracted]
    assert correct == [Reason.CORRECT]
    assert extracted == [Reason.CORRECT, Reason.WRONG_VALUE]


def test_reasons_are_their_names_in_json() -> None:
    assert json.loads(json.dumps(list(Reason))) == [
        "correct",
        "wrong_value",
        "no_solution",
        "syntax_error",
        "runtime_error",
        "timeout",
        "memory",
        "non_finite",
        "non_numeric",
        "denied",
        "executor_fault",
    ]


def test_nouns_are_frozen_and_take_names() -> None:
    problem = Problem(id="svamp_1", question="q", answer="1")
    with pytest.raises(dataclasses.FrozenInstanceError):
        problem.answer = "2"
    with pytest.raises(TypeError):
        Problem("svamp_1", "q", "1")
    assert problem.cot == ""


def test_a_rollout_keeps_its_completion_and_verdict() -> None:
    told = Verdict(reason=Reason.WRONG_VALUE, value=3.0)
    rollout = Rollout(
        completion=completion(2, 1), text="x", verdict=told, reward=0.1, policy_version=4, seed=0
    )
    better = dataclasses.replace(rollout, reward=1.0)
    assert (better.verdict, better.completion, rollout.reward) == (told, rollout.completion, 0.1)
