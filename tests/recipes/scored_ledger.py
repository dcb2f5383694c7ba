"""A ledger that a tiny reranker learns from in seconds: right completions say 7, wrong ones 5."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from reft_megatron.rollouts.ledger import Ledger, Origin
from reft_megatron.tasks import load_task
from reft_megatron.types import Completion, Reason, Rollout, Verdict
from tests.launch import Launcher

SAMPLES = 6


def mixed(number: int, sample: int) -> bool:
    """A third are right, of every problem some."""
    return (number + sample) % 3 == 0


def rollouts_of(
    launch: Launcher, *, right: Callable[[int, int], bool] = mixed, problems: int = 40
) -> list[Rollout]:
    """SAMPLES rollouts of each problem of the launcher's task, each of another text."""
    task, tokenizer = load_task(launch.config().task), launch.tokenizer()
    known = [*task.problems("dev"), *task.problems("train")][:problems]
    made = []
    for number, problem in enumerate(known):
        for sample in range(SAMPLES):
            good = right(number, sample)
            text = f"    x = {sample}\n    return {7 if good else 5}"
            tokens = [*tokenizer.encode_continuation(text), tokenizer.eos_id]
            completion = Completion(
                problem_id=problem.id,
                sample=sample,
                prompt_ids=np.array(tokenizer.encode(task.prompt_text(problem)), np.int32),
                token_ids=np.array(tokens, np.int32),
                logprobs=np.full(len(tokens), -0.5, np.float32),
                finished=True,
            )
            reason = Reason.CORRECT if good else Reason.WRONG_VALUE
            made.append(
                Rollout(
                    completion=completion,
                    text=text,
                    verdict=Verdict(reason=reason, value=7.0 if good else 5.0),
                    reward=1.0 if good else 0.1,
                    policy_version=0,
                    seed=1,
                )
            )
    return made


def write_ledger(
    folder: Path,
    launch: Launcher,
    rollouts: Collection[Rollout],
    *,
    task: str = "svamp (program)",
    tokenizer: str = "",
) -> str:
    """Record the rollouts in two iterations of two data ranks; returns `folder`."""
    own = launch.tokenizer().fingerprint
    ledger = Ledger(folder, origin=Origin(task=task, tokenizer=tokenizer or own))
    parts = [list(rollouts)[start::4] for start in range(4)]
    for iteration in (1, 2):
        for rank in (0, 1):
            ledger.append(iteration, rank, parts[2 * (iteration - 1) + rank])
        ledger.seal(iteration, data_size=2)
    return str(folder)
