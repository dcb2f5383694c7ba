"""Asking and judging: over-long prompts left out, faults of the checker dropped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from reft_megatron.config import Config, load_config
from reft_megatron.errors import ConfigError, TrainingError
from reft_megatron.mesh import Mesh
from reft_megatron.policy.families import find_architecture
from reft_megatron.recipes.answering import Answerer
from reft_megatron.recipes.judging import Hearing
from reft_megatron.tasks import load_task
from reft_megatron.tokenizer import load_tokenizer
from reft_megatron.types import Completion, Reason, Rollout

GOOD, WRONG, HANGS, BROKEN = (
    "    return {answer}\n",
    "    return 1 + {answer}\n",
    "    class Worker:\n        pass\n    while True:\n        pass\n",
    "    return (\n",
)
TINY = find_architecture("galactica-tiny")
Open = Callable[..., Answerer]


@pytest.fixture
def opened(tokenizer_path: Path) -> Iterator[Open]:
    """An answerer of the arithmetic task; closed at the end."""
    made: list[Answerer] = []

    def open_(*overrides: str) -> Answerer:
        config = configure(tokenizer_path, *overrides)
        tokenizer = load_tokenizer(tokenizer_path)
        made.append(
            Answerer(
                config,
                Mesh.single(),
                architecture=TINY,
                task=load_task(config.task),
                tokenizer=tokenizer,
            )
        )
        return made[-1].__enter__()

    yield open_
    for answerer in made:
        answerer.__exit__(None, None, None)


def configure(tokenizer_path: Path, *overrides: str) -> Config:
    base = (f"tokenizer.path={tokenizer_path}", "task.train_size=4", "rewards.workers=1")
    return load_config(None, [*base, *overrides])


def judge(
    answerer: Answerer, *programs: str, finished: bool = True, known: int = 0
) -> list[Rollout]:
    """What it says of these programs, answers to the first training problems."""
    problems = load_task(load_config(None, ["task.train_size=4"]).task).train[: len(programs)]
    hearing = Hearing(answerer._bench, problems, version=5, seed=9)
    for problem, program in zip(problems, programs, strict=True):
        text = program.format(answer=problem.answer)
        hearing.add(
            Completion(
                problem_id=problem.id,
                sample=0,
                prompt_ids=np.zeros(1, np.int32),
                token_ids=np.array(answerer._tokenizer.encode_continuation(text), np.int32),
                logprobs=np.zeros(1, np.float32),
                finished=finished,
            )
        )
    return answerer.answers(hearing, known=known)


def test_a_problem_asked_twice_is_sampled_anew(opened: Open) -> None:
    answerer = opened()
    one, two = load_task(load_config(None, ["task.train_size=4"]).task).train[:2]
    prompts = answerer._prompts([one, two, one, one], 3)
    assert [(p.problem_id, p.samples) for p in prompts] == [
        (one.id, (0, 1, 2)),
        (two.id, (0, 1, 2)),
        (one.id, (3, 4, 5)),
        (one.id, (6, 7, 8)),
    ]


def test_what_is_known_is_not_asked_again(opened: Open) -> None:
    answerer = opened()
    one, two = load_task(load_config(None, ["task.train_size=4"]).task).train[:2]
    have = {(one.id, 1), (one.id, 5), (two.id, 0), (two.id, 1), (two.id, 2)}
    prompts = answerer._prompts([one, two, one], 3, have)
    assert [(p.problem_id, p.samples) for p in prompts] == [
        (one.id, (0, 2)),
        (two.id, ()),
        (one.id, (3, 4)),
    ]


def test_a_program_that_has_returned_is_over(opened: Open) -> None:
    text = "    x = 4\n    return x\n"
    tokens = opened()._tokenizer.encode_continuation(text)
    ends = [n for n in range(1, len(tokens) + 1) if opened()._stop("a_1", 0, tokens[:n])]
    assert ends == [len(tokens)]
    for setting in ("generate.stop_at_solution=false", "task.parity=reference"):
        assert not opened(setting)._stop("a_1", 0, tokens), setting


def test_rewards_follow_verdicts(opened: Open) -> None:
    answers = judge(opened("rewards.partial=0.25"), GOOD, WRONG, BROKEN)
    assert [(r.verdict.reason, r.reward) for r in answers] == [
        (Reason.CORRECT, 1.0),
        (Reason.WRONG_VALUE, 0.25),
        (Reason.SYNTAX_ERROR, 0.0),
    ]
    assert {(r.policy_version, r.seed) for r in answers} == {(5, 9)}


@pytest.mark.parametrize(("setting", "reward"), [("keep", 1.0), ("zero", 0.0)])
def test_a_truncated_completion_is_rewarded_as_asked(
    opened: Open, setting: str, reward: float
) -> None:
    answers = judge(opened(f"ppo.truncated_reward={setting}"), GOOD, finished=False)
    assert [rollout.reward for rollout in answers] == [reward]


@contextmanager
def killing_workers() -> Iterator[None]:
    """Meanwhile, kill all workers whenever one of them has been busy for a while."""
    over = threading.Event()

    def workers() -> Iterator[psutil.Process]:
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if "-S" in process.cmdline():
                    yield process

    def busy(process: psutil.Process) -> bool:
        with suppress(psutil.NoSuchProcess):
            return process.cpu_times().user > 0.5
        return False

    def kill() -> None:
        while not over.wait(0.05):
            if any(map(busy, workers())):
                for process in workers():
                    with suppress(psutil.NoSuchProcess):
                        process.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_faults_are_dropped(opened: Open) -> None:
    answerer = opened("rewards.max_fault_fraction=0.5", "rewards.timeout_s=60")
    with killing_workers():
        answers = judge(answerer, GOOD, HANGS, WRONG)
    reasons = [rollout.verdict.reason for rollout in answers]
    assert reasons == [Reason.CORRECT, Reason.WRONG_VALUE]


def test_what_an_earlier_start_judged_counts_among_what_was_asked(opened: Open) -> None:
    """Of an iteration that goes on, the last completion alone is left, and it cannot be judged."""
    answerer = opened("rewards.max_fault_fraction=0.25", "rewards.timeout_s=60")
    with killing_workers():
        answers = judge(answerer, HANGS, known=3)
    assert answers == []


@pytest.mark.parametrize(
    ("limit", "programs"), [(0.3, (GOOD, HANGS, WRONG)), (1.0, (HANGS,))], ids=["share", "all"]
)
def test_too_many_faults_stop_the_run(
    opened: Open, limit: float, programs: tuple[str, ...]
) -> None:
    answerer = opened(f"rewards.max_fault_fraction={limit}", "rewards.timeout_s=60")
    with killing_workers(), pytest.raises(TrainingError) as caught:
        judge(answerer, *programs)
    hanging = answerer._task.train[programs.index(HANGS)].id
    assert str(caught.value) == (
        f"1 of {len(programs)} completions could not be judged, more than "
        f"rewards.max_fault_fraction={limit}; the last one: {hanging}: the worker died. The "
        "workers that run programs are broken: look at the machine's process and memory limits."
    )


def test_the_end_leaves_no_worker(tokenizer_path: Path) -> None:
    config = configure(tokenizer_path, "rewards.timeout_s=0.2")
    before = set(psutil.Process().children(recursive=True))
    tokenizer = load_tokenizer(tokenizer_path)
    task = load_task(config.task)
    made = Answerer(config, Mesh.single(), architecture=TINY, task=task, tokenizer=tokenizer)
    with made as answerer:
        judge(answerer, HANGS)  # a class needs a worker
        during = set(psutil.Process().children(recursive=True)) - before
    deadline = time.monotonic() + 10
    while any(process.is_running() for process in during) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert during
    assert not [process for process in during if process.is_running()]


def prompt_lengths(answerer: Answerer) -> dict[str, int]:
    problems = answerer._task.train
    texts = {problem.id: answerer._task.prompt_text(problem) for problem in problems}
    return {name: len(answerer._tokenizer.encode(text)) for name, text in texts.items()}


def test_over_long_prompts_are_left_out(opened: Open) -> None:
    lengths = prompt_lengths(opened())
    limit = sorted(lengths.values())[1]
    kept = opened(f"generate.max_prompt_tokens={limit}").fitting(opened()._task.train)
    assert [problem.id for problem in kept] == [n for n in lengths if lengths[n] <= limit]
    assert 0 < len(kept) < 4


def test_no_prompt_fits(opened: Open) -> None:
    answerer = opened("generate.max_prompt_tokens=5")
    shortest = min(prompt_lengths(answerer).values())
    with pytest.raises(ConfigError) as caught:
        answerer.fitting(answerer._task.train)
    assert str(caught.value) == (
        f"none of 4 problems can be asked: the shortest prompt has {shortest} tokens, and "
        "generate.max_prompt_tokens is 5. Raise it."
    )


@pytest.mark.parametrize(
    ("new", "trained", "limit"),
    [
        (1000, False, "the positions of galactica-tiny (1024)"),
        (300, True, "optimizer.micro_batch_tokens (320)"),
    ],
)
def test_a_response_without_room(opened: Open, new: int, trained: bool, limit: str) -> None:
    answerer = opened(f"generate.max_new_tokens={new}", "optimizer.micro_batch_tokens=320")
    lengths = prompt_lengths(answerer)
    longest = max(lengths, key=lengths.__getitem__)
    with pytest.raises(ConfigError) as caught:
        answerer.fitting(answerer._task.train, trained=trained)
    assert str(caught.value) == (
        f"the prompt of {longest} has {lengths[longest]} tokens; with "
        f"generate.max_new_tokens={new} that is more than {limit}. Lower "
        "generate.max_new_tokens or generate.max_prompt_tokens."
    )
