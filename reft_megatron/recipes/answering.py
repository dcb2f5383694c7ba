"""From problems to judged completions: the glue of generation and reward.

Owns tokenising prompts (a problem with an over-long one is left out, never cut), asking for just
the samples that are not known already, and where a response is over.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Collection, Sequence

import numpy as np
import torch

from reft_megatron.closing import Closing
from reft_megatron.config import Config
from reft_megatron.errors import ConfigError, TrainingError
from reft_megatron.mesh import Mesh
from reft_megatron.ops.sampling import Sampling
from reft_megatron.policy import Policy
from reft_megatron.policy.families import Architecture
from reft_megatron.recipes.judging import Bench, Hearing
from reft_megatron.recipes.room import room_of
from reft_megatron.tasks.task import Task
from reft_megatron.tokenizer import Tokenizer
from reft_megatron.types import Completion, Problem, Prompt, Rollout

__all__ = ["Answerer"]


class Answerer(Closing):
    """Asks a policy problems and has judged what it says."""

    def __init__(
        self,
        config: Config,
        mesh: Mesh,
        *,
        architecture: Architecture,
        task: Task,
        tokenizer: Tokenizer,
    ) -> None:
        """Judging happens on the ranks that speak for a replica."""
        self._architecture = architecture
        self._config, self._mesh, self._task, self._tokenizer = config, mesh, task, tokenizer
        self._remedy = (
            f"Mend {config.task.reward}."
            if config.task.reward
            else "The workers that run programs are broken: look at the machine's process and "
            "memory limits."
        )
        self._bench = Bench(config, task=task, tokenizer=tokenizer) if mesh.writer else None
        # Few tokens break a line, and only there can a program be over.
        self._breaks = functools.cache(lambda token: "\n" in tokenizer.decode([token]))

    def close(self) -> None:
        """End what judges."""
        if self._bench is not None:
            self._bench.close()

    def sampling(self, seed: int) -> Sampling:
        """The configured sampling under `seed`."""
        settings = self._config.generate
        return Sampling(
            temperature=settings.temperature,
            top_k=settings.top_k,
            top_p=settings.top_p,
            min_p=settings.min_p,
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

    def ask(
        self,
        policy: Policy,
        problems: Sequence[Problem],
        *,
        samples: int,
        sampling: Sampling,
        advance: Callable[[int], None],
        known: Sequence[Rollout] = (),
        keep: Callable[[Sequence[Rollout]], None] = lambda rollouts: None,
    ) -> Hearing | None:
        """Have the policy answer `problems`, and judge what this replica answers meanwhile.

        A problem that `problems` holds twice is sampled anew the second time. What is `known`
        (the same on every rank) is not asked again. `advance` is told of the tokens of this replica
        as they come, and of all others' at the end; `keep` of judged rollouts, on another thread.
        The hearing is None except on the replica's writer.
        """
        hearing = None
        if self._bench is not None:
            hearing = Hearing(
                self._bench, problems, version=policy.version, seed=sampling.seed, keep=keep
            )
        tokens = 0

        def finish(completion: Completion) -> None:
            nonlocal tokens
            tokens += len(completion.token_ids)
            advance(len(completion.token_ids))
            if hearing is not None:
                hearing.add(completion)

        have = {(r.completion.problem_id, r.completion.sample) for r in known}
        prompts = self._prompts(problems, samples, have)
        policy.generate(prompts, sampling=sampling, stop=self._stop, on_finish=finish)
        everywhere = self._mesh.data.sum(torch.tensor(tokens, device=self._mesh.device))
        advance(int(everywhere) - tokens)
        return hearing

    def answers(self, hearing: Hearing | None, *, known: int = 0) -> list[Rollout] | None:
        """What came of `ask`; waits for the last verdicts, and every rank calls.

        The judged completions of this replica, without those that could not be judged; None except
        on its writer. Raises TrainingError if those are too many, of all that were asked and the
        `known`; that, and what failed on one rank's thread, is raised on every rank.
        """
        rollouts, mine = None, (0, 0, "")
        with self._mesh.world.together():
            if hearing is not None:
                rollouts = hearing.rollouts()
                mine = hearing.count, hearing.count - len(rollouts), hearing.fault
        counts = self._mesh.world.gather_objects(mine)
        asked, faults = known + sum(c[0] for c in counts), sum(c[1] for c in counts)
        limit = self._config.rewards.max_fault_fraction
        if faults > limit * asked or 0 < faults == asked:
            raise TrainingError(
                f"{faults} of {asked} completions could not be judged, more than "
                f"rewards.max_fault_fraction={limit}; {max(c[2] for c in counts)}. {self._remedy}"
            )
        return rollouts

    def _stop(self, problem_id: str, sample: int, tokens: Sequence[int]) -> bool:
        """True if a response is over though no end-of-sequence token came."""
        return (
            self._config.generate.stop_at_solution
            and self._breaks(tokens[-1])
            and self._task.over(self._tokenizer.decode(list(tokens)))
        )

    def _prompt(self, problem: Problem, samples: Sequence[int] = (0,)) -> Prompt:
        ids = np.array(self._tokenizer.encode(self._task.prompt_text(problem)), np.int32)
        return Prompt(problem_id=problem.id, token_ids=ids, samples=tuple(samples))

    def _prompts(
        self, problems: Sequence[Problem], samples: int, have: Collection[tuple[str, int]] = ()
    ) -> list[Prompt]:
        """Prompts in which no two samples of a problem have the same number."""
        before: Counter[str] = Counter()
        prompts = []
        for problem in problems:
            first = before[problem.id] * samples
            wanted = [s for s in range(first, first + samples) if (problem.id, s) not in have]
            prompts.append(self._prompt(problem, wanted))
            before[problem.id] += 1
        return prompts
