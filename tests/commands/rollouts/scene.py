"""A ledger of three iterations, written as PPO writes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reft_megatron.rollouts.ledger import Ledger, Origin
from reft_megatron.rollouts.schema import SCORES, to_table
from reft_megatron.tokenizer import Tokenizer
from reft_megatron.types import Completion, Reason, Rollout, Verdict

QUESTION = "Question:\nHow many?\nAnswer reasoning:\n"
FIRST = "def solution():\n    a = 3\n    return a"
SECOND = "def solution():\n    a = 3\n    return a + 1"
ENDLESS = "def solution():\n    while True:\n        pass"
FAILING = "def solution():\n    return 1 / 0"
_RIGHT = (Verdict(reason=Reason.CORRECT, value=4.0), 1.0, True)
_LETTER = (Verdict(reason=Reason.CORRECT, value="b"), 1.0, True)
_WRONG = (Verdict(reason=Reason.WRONG_VALUE, value=3.0), 0.1, True)
_CUT = (Verdict(reason=Reason.TIMEOUT), 0.0, False)
_FAILED = (Verdict(reason=Reason.RUNTIME_ERROR, detail="ZeroDivisionError"), 0.0, True)
ROWS = {
    (1, 0): [("gsm8k_12", 0, FIRST, *_WRONG), ("gsm8k_12", 1, SECOND, *_RIGHT)],
    (1, 1): [("gsm8k_7", 0, ENDLESS, *_CUT), ("gsm8k_7", 1, FAILING, *_FAILED)],
    (2, 0): [("mathqa_1", 0, "The answer is b", *_LETTER)],
    (2, 1): [],
    (3, 0): [("gsm8k_12", 0, SECOND, *_RIGHT)],
    (3, 1): [("gsm8k_12", 1, SECOND, *_RIGHT)],
}
"""By iteration and data rank: problem, sample, text, verdict, reward, whether it finished."""
UNSCORED = 3
"""The iteration without scores."""


def write_ledger(folder: Path, tokenizer: Tokenizer) -> None:
    """`ROWS`, two optimizer steps an iteration, and a fourth iteration that is only begun."""
    origin = Origin(task="gsm8k (program)", tokenizer=tokenizer.fingerprint)
    ledger = Ledger(folder, origin=origin)
    for (iteration, rank), rows in ROWS.items():
        rollouts = [_rollout(tokenizer, iteration, row) for row in rows]
        scores = None if iteration == UNSCORED else _scores(rollouts)
        ledger.append(iteration, rank, to_table(rollouts, scores))
    for iteration in (1, 2, 3):
        ledger.seal(iteration, data_size=2)
    ledger.append(4, 0, [])


def _rollout(tokenizer: Tokenizer, iteration: int, row: tuple) -> Rollout:
    problem, sample, text, verdict, reward, finished = row
    ids = tokenizer.encode_continuation(text) + [tokenizer.eos_id] * finished
    return Rollout(
        completion=Completion(
            problem_id=problem,
            sample=sample,
            prompt_ids=np.array(tokenizer.encode(QUESTION), np.int32),
            token_ids=np.array(ids, np.int32),
            logprobs=np.full(len(ids), -0.5, np.float32),
            finished=finished,
        ),
        text=text,
        verdict=verdict,
        reward=reward,
        policy_version=2 * (iteration - 1),
        seed=iteration,
    )


def _scores(rollouts: list[Rollout]) -> dict[str, list[np.ndarray]]:
    """Column by column other numbers, which grow from token to token by an eighth."""
    lengths = [len(rollout.completion.token_ids) for rollout in rollouts]
    return {
        name: [np.arange(n, dtype=np.float32) / 8 + number for n in lengths]
        for number, name in enumerate(SCORES)
    }
