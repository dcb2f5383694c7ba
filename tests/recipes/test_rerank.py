"""Training a reranker: it learns, it goes on where it was killed, it refuses what it cannot use."""

from __future__ import annotations

import dataclasses
import math
import re
import signal
from pathlib import Path

import pytest

from reft_megatron.recipes.rerank import _split
from reft_megatron.rollouts.schema import to_table
from reft_megatron.rollouts.views import labelled
from reft_megatron.tasks.splits import place
from reft_megatron.types import Rollout
from tests.launch import Launcher, Run
from tests.recipes.scored_ledger import SAMPLES, rollouts_of, write_ledger
from tests.recipes.test_sft import assert_same

pytestmark = pytest.mark.megatron
EPOCH = 12
"""Steps of an epoch: six rollouts of each of 32 problems, 16 a step."""
RERANK = (
    *("model.head=rerank", "model.dropout=0.1", "optimizer.lr=0.0015"),
    *("rerank.epochs=4", "rerank.batch_size=16", "rerank.dev_size=8"),
    *("checkpoint.every=1", "checkpoint.keep_last=9"),
)


@pytest.fixture(scope="module")
def ledger(launch: Launcher) -> str:
    """Six rollouts of each of 40 problems, a third of them right."""
    return write_ledger(launch.folder / "scored", launch, rollouts_of(launch))


@pytest.fixture(scope="module")
def base(launch: Launcher) -> Path:
    """A policy, with its value head, to start from."""
    run = launch(1, "sft", "rerank-base", "sft.epochs=1", "sft.batch_size=16")
    return run.folder / "checkpoints" / "best"


@pytest.fixture(scope="module")
def arguments(ledger: str, base: Path) -> tuple[str, ...]:
    return (*RERANK, f"model.load={base}", f"rerank.ledger={ledger}")


@pytest.fixture(scope="module")
def trained(launch: Launcher, arguments: tuple[str, ...]) -> Run:
    """Four undisturbed epochs."""
    return launch(1, "rerank", "reranker", *arguments)


def test_it_learns_to_tell_right_from_wrong(trained: Run) -> None:
    losses, aucs = trained.series("train/loss"), trained.series("eval/dev_auc")
    assert len(losses) == 4 * EPOCH
    assert sum(losses[-EPOCH:]) < 0.5 * sum(losses[:EPOCH])
    assert len(aucs) == 4
    assert max(aucs) > 0.9
    guess = -(math.log(1 / 3) + 2 * math.log(2 / 3)) / 3  # who knows the shares and no more
    assert min(trained.series("eval/dev_loss")) < 0.75 * guess
    assert trained.summary == {"epochs": 4, "steps": 4 * EPOCH, "best_dev_auc": max(aucs)}
    best = EPOCH * (1 + aucs.index(max(aucs)))
    assert f"best->step_{best:08d}" in trained.checkpoints
    assert "rollouts: 48 dev (33.3% right), 192 learnt from (33.3% right)\n" in trained.out[0]


def test_the_loss_can_select(launch: Launcher, arguments: tuple[str, ...]) -> None:
    wild = ("rerank.epochs=3", "optimizer.lr=0.01")  # so that the last epoch is not the best
    run = launch(1, "rerank", "by-loss", *arguments, "rerank.select=loss", *wild)
    losses = run.series("eval/dev_loss")
    assert len(losses) == 3
    assert min(losses) < losses[-1], "the story needs a best epoch before the last"
    best = EPOCH * (1 + losses.index(min(losses)))
    assert f"best->step_{best:08d}" in run.checkpoints
    assert run.summary["best_dev_loss"] == min(losses)


def test_kill_9_in_epoch_3_and_resume(
    launch: Launcher, trained: Run, arguments: tuple[str, ...]
) -> None:
    run = launch.start(1, "rerank", "rerank-killed", *arguments)
    run.signal(signal.SIGKILL, once=lambda: run.has(2 * EPOCH) and run.step > 2 * EPOCH)
    assert run.complaint == "rank 0 ended with status 9"
    assert 2 * EPOCH < run.step < 3 * EPOCH
    resumed = launch(1, "rerank", "rerank-killed", *arguments)
    assert f"resumed after step {2 * EPOCH}" in resumed.out[0]
    assert_same(resumed, trained, steps=range(EPOCH, 4 * EPOCH + 1, EPOCH))


def test_a_ledger_that_changes_on_the_way(launch: Launcher, arguments: tuple[str, ...]) -> None:
    rollouts = rollouts_of(launch)
    ledger = write_ledger(launch.folder / "growing", launch, rollouts[:-1])
    given = (*arguments, f"rerank.ledger={ledger}", "rerank.epochs=1")
    run = launch(1, "rerank", "growing-run", *given)
    for iteration in Path(ledger).iterdir():
        (iteration / "manifest.json").unlink()
    write_ledger(Path(ledger), launch, rollouts)
    assert launch.refused(1, "rerank", "growing-run", *given) == (
        f"reft-megatron: CheckpointError: the ledger {ledger} is not what it was when "
        f"{run.folder} began. Choose another run.name to learn from it as it is.\n"
    )


def split_of(rollouts: list[Rollout], dev_size: int) -> tuple[list[str], list[str]]:
    """The problems of both parts, one entry a rollout."""
    table = to_table(rollouts)
    with labelled(lambda columns: iter(table.select(columns).to_batches()), unique=True) as chosen:
        parts = _split(chosen, dev_size=dev_size)
        train, dev = ([chosen.problem_id(int(i)) for i in part] for part in parts)
    return train, dev


def test_problems_are_split_and_never_samples(launch: Launcher) -> None:
    rollouts = rollouts_of(launch)
    names = {rollout.completion.problem_id for rollout in rollouts}
    for dev_size in (8, 9):
        train, dev = split_of(rollouts, dev_size)
        assert set(dev) == set(sorted(names, key=place)[:dev_size])
        assert set(train) == names - set(dev)
        assert len(train) + len(dev) == len(names) * SAMPLES
    # Others come and go: the same ones stay in dev.
    few = [r for r in rollouts if r.completion.problem_id in {*dev, *train[:60]}]
    assert split_of(few, 9)[1] == dev


def test_the_twin_of_a_dev_problem_is_not_learnt_from(launch: Launcher) -> None:
    rollouts = rollouts_of(launch)
    train, dev = split_of(rollouts, 8)
    prompts = {r.completion.problem_id: r.completion.prompt_ids for r in rollouts}
    twin = [
        dataclasses.replace(
            r, completion=dataclasses.replace(r.completion, prompt_ids=prompts[dev[0]])
        )
        if r.completion.problem_id == train[0]
        else r
        for r in rollouts
    ]
    without = [name for name in train if name != train[0]]
    assert split_of(twin, 8) == (without, dev)


# What is wrong with the ledger, and what is said of it; # is any number.
BAD = {
    "another task": (
        "DataError: the rollout ledger LEDGER holds rollouts of the task gsm8k (nl) and the "
        "tokenizer OWN, and this run has the task svamp (program) and the tokenizer OWN. Take a "
        "ledger of this task and tokenizer."
    ),
    "another tokenizer": (
        "DataError: the rollout ledger LEDGER holds rollouts of the task svamp (program) and the "
        "tokenizer 0123456789abcdef, and this run has the task svamp (program) and the tokenizer "
        "OWN. Take a ledger of this task and tokenizer."
    ),
    "only wrong ones": (
        "DataError: of 240 rollouts 0 are right: a reranker learns from right and wrong ones. "
        "Sample more, or from an earlier checkpoint."
    ),
    "nothing": (
        "ConfigError: rerank.ledger=LEDGER holds no sealed iteration of rollouts. Set it to the "
        "ledger of a run that has sampled (the folder with `iteration-*` inside)."
    ),
    "too few problems": (
        "DataError: of 0 rollouts left to learn from 0 are right: there must be right and wrong "
        "ones. The ledger has 7 problems and rerank.dev_size=8 of them are kept for selection; "
        "change that, or sample more."
    ),
    "dev problems all wrong": (
        "DataError: of 48 rollouts in the dev part 0 are right: there must be right and wrong "
        "ones. The ledger has 40 problems and rerank.dev_size=8 of them are kept for selection; "
        "change that, or sample more."
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_ledger_that_cannot_be_learnt_from(launch: Launcher, case: str, tmp_path: Path) -> None:
    own = launch.tokenizer().fingerprint
    rollouts, origin = rollouts_of(launch), {}
    if case == "only wrong ones":
        rollouts = rollouts_of(launch, right=lambda number, sample: False)
    if case == "too few problems":
        rollouts = rollouts_of(launch, problems=7)
    if case == "dev problems all wrong":
        dev = set(split_of(rollouts, 8)[1])
        wrong = rollouts_of(launch, right=lambda number, sample: False)
        pairs = zip(rollouts, wrong, strict=True)
        rollouts = [w if r.completion.problem_id in dev else r for r, w in pairs]
    if case == "another task":
        origin = {"task": "gsm8k (nl)"}
    if case == "another tokenizer":
        origin = {"tokenizer": "0123456789abcdef"}
    folder = tmp_path / "ledger"
    if case != "nothing":
        write_ledger(folder, launch, rollouts, **origin)
    message = launch.refused(1, "rerank", "rerank-bad", *RERANK, f"rerank.ledger={folder}")
    wanted = BAD[case].replace("LEDGER", str(folder)).replace("OWN", own)
    assert message == f"reft-megatron: {wanted}\n"


def test_what_must_be_set(launch: Launcher, ledger: str) -> None:
    message = launch.refused(1, "rerank", "rerank-bad", "model.head=rerank")
    assert message.startswith(
        "reft-megatron: ConfigError: rerank learns from recorded rollouts: set rerank.ledger to "
    )
    message = launch.refused(1, "rerank", "rerank-bad", f"rerank.ledger={ledger}")
    assert message.startswith(
        "reft-megatron: ConfigError: rerank has no use for model.head=value. Set model.head=rerank."
    )
    message = launch.refused(1, "rerank", "rerank-bad", "rerank.dev_size=0")
    assert "rerank.dev_size" in message


def test_a_rollout_without_room(launch: Launcher, ledger: str) -> None:
    small = ("optimizer.micro_batch_tokens=30", f"rerank.ledger={ledger}")
    message = launch.refused(1, "rerank", "rerank-bad", *RERANK, *small)
    assert re.fullmatch(
        r"reft-megatron: DataError: problem svamp_\d+ takes \d\d tokens with its longest "
        r"completion, more than optimizer.micro_batch_tokens \(30\)\. Make more room, or sample "
        r"shorter completions \(generate.max_new_tokens\)\.\n",
        message,
    ), message
