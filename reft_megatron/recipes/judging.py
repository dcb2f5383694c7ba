"""Judging completions while others are still generated.

Owns the thread on which a replica's writer turns finished completions into judged rollouts, batch
by batch, so that the reward is only waited for by the last ones. Verdicts do not depend on how
completions fall into batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from reft_megatron.config import Config
from reft_megatron.rewards import open_judge, reward
from reft_megatron.tasks.task import Task
from reft_megatron.tokenizer import Tokenizer
from reft_megatron.types import Completion, Problem, Reason, Rollout, Verdict

__all__ = ["Bench", "Hearing"]

_BATCH = 32
"""Completions judged together at least: enough for the extractor to spread over threads."""


class Bench:
    """Who judges for a replica; a context manager that ends the thread and the judge's workers."""

    def __init__(self, config: Config, *, task: Task, tokenizer: Tokenizer) -> None:
        """Workers and thread start with the first batch."""
        self._config, self._task, self._tokenizer = config, task, tokenizer
        self._judge = open_judge(config.task, config.rewards, kind=task.kind)
        self.batch = max(_BATCH, 2 * config.rewards.workers)
        """Completions judged together: each worker has one, and another that waits."""
        self.fault = ""
        """The last completion that could not be judged, and why."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="judge")

    def close(self) -> None:
        """End the thread, whatever waits for it, and the workers."""
        self._thread.shutdown(cancel_futures=True)
        self._judge.close()

    def submit(self, work: Callable[[], list[Rollout]]) -> Future[list[Rollout]]:
        """Do `work` on the thread, after what it has to do already."""
        return self._thread.submit(work)

    def rollouts(
        self, asked: Sequence[tuple[Completion, Problem]], *, version: int, seed: int
    ) -> list[Rollout]:
        """The judged completions, in order; those whose judging failed are left out."""
        texts = [self._tokenizer.decode(c.token_ids.tolist()) for c, _ in asked]
        verdicts = self._judge.check(
            [
                (problem, self._task.answer_text(problem, text))
                for (_, problem), text in zip(asked, texts, strict=True)
            ]
        )
        for (_, problem), verdict in zip(asked, verdicts, strict=True):
            if verdict.reason is Reason.EXECUTOR_FAULT:
                self.fault = f"the last one: {problem.id}: {verdict.detail}"
        return [
            Rollout(
                completion=completion,
                text=text,
                verdict=verdict,
                reward=self._reward(completion, verdict),
                policy_version=version,
                seed=seed,
            )
            for (completion, _), text, verdict in zip(asked, texts, verdicts, strict=True)
            if verdict.reason is not Reason.EXECUTOR_FAULT
        ]

    def _reward(self, completion: Completion, verdict: Verdict) -> float:
        if not completion.finished and self._config.ppo.truncated_reward == "zero":
            return 0.0
        return reward(verdict, partial=self._judge.partial)


class Hearing:
    """The completions of one call, on their way to being rollouts."""

    def __init__(
        self,
        bench: Bench,
        problems: Sequence[Problem],
        *,
        version: int,
        seed: int,
        keep: Callable[[Sequence[Rollout]], None] = lambda rollouts: None,
    ) -> None:
        """`version` and `seed` are the rollouts'; `keep` gets them, on the thread, as they come."""
        self._bench, self._version, self._seed, self._keep = bench, version, seed, keep
        self._problems = {problem.id: problem for problem in problems}
        self._waiting: list[tuple[Completion, Problem]] = []
        self._batches: list[Future[list[Rollout]]] = []
        self.count = 0
        """Completions heard."""

    @property
    def fault(self) -> str:
        """The last completion of this replica that could not be judged, and why."""
        return self._bench.fault

    def add(self, completion: Completion) -> None:
        """Take a completion in; judging starts once there are enough for a batch."""
        self.count += 1
        self._waiting.append((completion, self._problems[completion.problem_id]))
        if len(self._waiting) == self._bench.batch:
            self._judge()

    def rollouts(self) -> list[Rollout]:
        """All of them, judged; waits for those that are not yet."""
        self._judge()
        return [rollout for batch in self._batches for rollout in batch.result()]

    def _judge(self) -> None:
        asked, self._waiting = self._waiting, []

        def work() -> list[Rollout]:
            rollouts = self._bench.rollouts(asked, version=self._version, seed=self._seed)
            self._keep(rollouts)
            return rollouts

        if asked:
            self._batches.append(self._bench.submit(work))
