"""From problems to judged completions: the glue of generation and reward.

Owns tokenising prompts (a problem with an over-long one is left out, never cut), sharing problems
over data ranks, and judging on the one rank of a replica that speaks for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from reft_megatron.config import Config
from reft_megatron.errors import ConfigError, TrainingError
from reft_megatron.mesh import Mesh
from reft_megatron.ops.sampling import Sampling
from reft_megatron.policy import Policy
from reft_megatron.policy.families import Architecture
from reft_megatron.recipes.room import room_of
from reft_megatron.rewards import Judge, reward
from reft_megatron.tasks.task import Task
from reft_megatron.tokenizer import Tokenizer
from reft_megatron.types import Completion, Problem, Prompt, Reason, Rollout, Verdict

__all__ = ["Answerer", "Answers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What came of a set of problems on one replica."""

    rollouts: list[Rollout] | None
    """Judged completions, executor faults left out; None except on the replica's writer."""
    faults: int
    """Executor faults over all replicas."""


class Answerer:
    """Asks a policy problems and judges what it says; a context manager that owns the judge."""

    def __init__(
        self,
        config: Config,
        mesh: Mesh,
        *,
        architecture: Architecture,
        task: Task,
        tokenizer: Tokenizer,
    ) -> None:
        """Start judging workers on the ranks that speak for a replica."""
        self._architecture = architecture
        self._config, self._mesh, self._task, self._tokenizer = config, mesh, task, tokenizer
        self._judge: Judge | None = None
        if mesh.writer:
            self._judge = Judge(
                form=task.form, kind=task.kind, config=config.rewards, parity=task.parity
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._judge is not None:
            self._judge.close()

    def sampling(self, seed: int) -> Sampling:
        """The configured sampling under `seed`."""
        settings = self._config.generate
        return Sampling(
            temperature=settings.temperature,
            top_k=settings.top_k,
            top_p=settings.top_p,
            seed=seed,
        )

    def fitting(self, problems: Sequence[Problem], *, trained: bool = False) -> list[Problem]:
        """The problems whose prompts are within `generate.max_prompt_tokens`.

        Raises ConfigError if none is, or if one of them, with the longest response, is over what
        the model (or a micro-batch, if it is `trained` on) can take.
        """
        settings = self._config.generate
        lengths = {p.id: len(self._prompt(p).token_ids) for p in problems}
        kept = [p for p in problems if lengths[p.id] <= settings.max_prompt_tokens]
        if not kept:
            raise ConfigError(
                f"none of {len(problems)} problems can be asked: the shortest prompt has "
                f"{min(lengths.values(), default=0)} tokens, and generate.max_prompt_tokens is "
                f"{settings.max_prompt_tokens}. Raise it."
            )
        room = room_of(self._architecture, self._config, trained=trained)
        longest = max(kept, key=lambda p: lengths[p.id])
        if lengths[longest.id] + settings.max_new_tokens > room.tokens:
            raise ConfigError(
                f"the prompt of {longest.id} has {lengths[longest.id]} tokens; with "
                f"generate.max_new_tokens={settings.max_new_tokens} that is more than "
                f"{room.limit}. Lower generate.max_new_tokens or generate.max_prompt_tokens."
            )
        return kept

    def complete(
        self,
        policy: Policy,
        problems: Sequence[Problem],
        *,
        samples: int,
        sampling: Sampling,
        advance: Callable[[int], None],
    ) -> list[Completion]:
        """Completions of this replica's share of `problems`.

        A problem that `problems` holds twice is sampled anew the second time. `advance` is told of
        the tokens of this replica as they come, and of all others' at the end.
        """
        data = self._mesh.data
        prompts = self._prompts(problems, samples)
        completions = policy.generate(
            prompts,
            sampling=sampling,
            on_finish=lambda completion: advance(len(completion.token_ids)),
        )
        tokens = sum(len(completion.token_ids) for completion in completions)
        everywhere = data.sum(torch.tensor(tokens, device=self._mesh.device))
        advance(int(everywhere) - tokens)
        return completions

    def judge(
        self,
        completions: Sequence[Completion],
        problems: Sequence[Problem],
        *,
        version: int,
        seed: int,
    ) -> Answers:
        """Verdicts and rewards of this replica's completions; every rank calls.

        Raises TrainingError on every rank if too many completions could not be judged.
        """
        rollouts = None
        if self._judge is not None:
            rollouts = self._rollouts(
                self._judge, completions, problems, version=version, seed=seed
            )
        mine = (0, 0) if rollouts is None else (len(completions), len(completions) - len(rollouts))
        counts = self._mesh.world.gather_objects(mine)
        asked, faults = (sum(column) for column in zip(*counts, strict=True))
        limit = self._config.rewards.max_fault_fraction
        if faults > limit * asked or faults == asked:
            raise TrainingError(
                f"{faults} of {asked} completions could not be judged, more than "
                f"rewards.max_fault_fraction={limit}. The workers that run programs are broken: "
                "look at the machine's process and memory limits."
            )
        return Answers(rollouts=rollouts, faults=faults)

    def _prompt(self, problem: Problem, samples: Sequence[int] = (0,)) -> Prompt:
        ids = np.array(self._tokenizer.encode(self._task.prompt_text(problem)), np.int32)
        return Prompt(problem_id=problem.id, token_ids=ids, samples=tuple(samples))

    def _prompts(self, problems: Sequence[Problem], samples: int) -> list[Prompt]:
        """Prompts in which no two samples of a problem have the same number."""
        before: Counter[str] = Counter()
        prompts = []
        for problem in problems:
            first = before[problem.id] * samples
            prompts.append(self._prompt(problem, range(first, first + samples)))
            before[problem.id] += 1
        return prompts

    def _rollouts(
        self,
        judge: Judge,
        completions: Sequence[Completion],
        problems: Sequence[Problem],
        *,
        version: int,
        seed: int,
    ) -> list[Rollout]:
        by_id = {problem.id: problem for problem in problems}
        asked = [by_id[completion.problem_id] for completion in completions]
        texts = [self._tokenizer.decode(c.token_ids.tolist()) for c in completions]
        pairs = zip(asked, texts, strict=True)
        verdicts = judge.judge([(self._task.answer_text(p, text), p.answer) for p, text in pairs])
        return [
            Rollout(
                completion=completion,
                text=text,
                verdict=verdict,
                reward=self._reward(completion, verdict, judge.partial),
                policy_version=version,
                seed=seed,
            )
            for completion, text, verdict in zip(completions, texts, verdicts, strict=True)
            if verdict.reason is not Reason.EXECUTOR_FAULT
        ]

    def _reward(self, completion: Completion, verdict: Verdict, partial: float) -> float:
        if not completion.finished and self._config.ppo.truncated_reward == "zero":
            return 0.0
        return reward(verdict, partial=partial)
