"""Sampling into a ledger: what it leaves, what a kill changes (nothing), what others read of it."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest

from reft_megatron.rollouts.ledger import Ledger
from reft_megatron.rollouts.views import correct, labelled
from tests.launch import CONSTANT_LR, Launcher, Run

pytestmark = pytest.mark.megatron
DEV = ("sample.split=dev", "sample.samples_per_problem=3", "sample.batch_size=3")
MANY = ("sample.samples_per_problem=16", "sample.batch_size=12")
"""32 problems in three blocks, so large that the journal is written while they are generated."""


@pytest.fixture(scope="module")
def load(launch: Launcher) -> str:
    """A model that answers some problems right."""
    warm = ("sft.epochs=2", "sft.batch_size=4", *CONSTANT_LR)
    run = launch(1, "sft", "sample-warm", *warm)
    return f"model.load={run.folder / 'checkpoints' / 'latest'}"


@pytest.fixture(scope="module")
def sampled(launch: Launcher, load: str) -> Run:
    """Three samples of each dev problem, at one rank."""
    return launch(1, "sample", "sampled", load, *DEV)


def tokens(folder: Path) -> dict[tuple[str, int], list[int]]:
    """Of every completion in a ledger."""
    ledger = Ledger(folder)
    rollouts = [r for iteration in ledger.iterations() for r in ledger.read(iteration)]
    found = {
        (r.completion.problem_id, r.completion.sample): r.completion.token_ids.tolist()
        for r in rollouts
    }
    assert len(found) == len(rollouts)
    return found


def test_every_problem_has_its_samples_block_by_block(launch: Launcher, sampled: Run) -> None:
    ledger = Ledger(sampled.folder / "ledger")
    ids = list(launch.prompt_lengths("dev"))
    for number, block in enumerate((ids[:3], ids[3:6], ids[6:]), start=1):
        rollouts = ledger.read(number)
        keys = {(r.completion.problem_id, r.completion.sample) for r in rollouts}
        assert keys == {(name, sample) for name in block for sample in range(3)}
        assert {(r.policy_version, r.seed) for r in rollouts} == {(0, 0)}
        right = sum(r.verdict.correct for r in rollouts) / len(rollouts)
        assert sampled.metrics[number - 1]["step"] == number
        assert sampled.metrics[number - 1]["reward/accuracy"] == right
    assert ledger.iterations() == [1, 2, 3]
    assert not (sampled.folder / "journal").exists()
    rewards = [r.reward for n in (1, 2, 3) for r in ledger.read(n)]
    assert sampled.summary == {
        "split": "dev",
        "num_problems": 8,
        "left_out": 0,
        "samples": 3,
        "rollouts": 24,
        "faults": 0,
        "accuracy": rewards.count(1.0) / 24,
        "checkpoint": sampled.summary["checkpoint"],
    }
    assert 0 < sampled.summary["accuracy"] < 1, "the story needs right and wrong ones"


def test_what_self_training_and_reranking_learn_from_is_there(sampled: Run) -> None:
    ledger = Ledger(sampled.folder / "ledger")
    right = round(24 * sampled.summary["accuracy"])
    with correct(ledger.batches, unique=False) as chosen:
        assert len(chosen) == right
    with labelled(ledger.batches, unique=False) as chosen:
        assert (len(chosen), int(chosen.labels.sum())) == (24, right)


def test_neither_blocks_nor_ranks_change_a_completion(
    launch: Launcher, load: str, sampled: Run
) -> None:
    run = launch(2, "sample", "sampled-apart", load, *DEV, "sample.batch_size=8")
    assert tokens(run.folder / "ledger") == tokens(sampled.folder / "ledger")
    assert run.summary == sampled.summary


def test_votes_over_a_ledger_are_those_over_new_samples(
    launch: Launcher, load: str, sampled: Run
) -> None:
    ledger = f"evaluate.ledger={sampled.folder / 'ledger'}"
    stored = launch(1, "evaluate", "voted-stored", load, "evaluate.split=dev", ledger)
    fresh = launch(1, "evaluate", "voted", load, "evaluate.split=dev", "evaluate.samples=3")
    assert stored.summary == fresh.summary
    assert stored.summary["samples"] == 3
    assert stored.content("outcomes.json") == fresh.content("outcomes.json")


def test_votes_over_samples_of_other_weights_are_refused(launch: Launcher, sampled: Run) -> None:
    ledger = sampled.folder / "ledger"
    asked = ("evaluate.split=dev", f"evaluate.ledger={ledger}")
    told = launch.refused(1, "evaluate", "voted-strange", *asked)
    found = Ledger(ledger).origin(1).weights
    assert told.startswith(
        f"reft-megatron: DataError: evaluate.ledger={ledger} was sampled from other weights "
        f"({found}) than are evaluated, those of run.seed ("
    )


def test_a_prompt_too_long_is_counted_here_and_wrong_in_votes(
    launch: Launcher, load: str, sampled: Run
) -> None:
    lengths = launch.prompt_lengths("dev")
    few = f"generate.max_prompt_tokens={min(lengths.values())}"
    fitting = {name for name, length in lengths.items() if length == min(lengths.values())}
    run = launch(1, "sample", "sampled-short", load, *DEV, few)
    wanted = tokens(sampled.folder / "ledger")
    assert 0 < len(fitting) < 8
    assert tokens(run.folder / "ledger") == {k: v for k, v in wanted.items() if k[0] in fitting}
    assert (run.summary["num_problems"], run.summary["left_out"]) == (8, 8 - len(fitting))
    assert (run.summary["rollouts"], run.summary["faults"]) == (3 * len(fitting), 0)
    ledger = f"evaluate.ledger={run.folder / 'ledger'}"
    voted = launch(1, "evaluate", "voted-short", load, "evaluate.split=dev", ledger, few)
    right = run.summary["accuracy"] * run.summary["rollouts"]
    assert voted.summary["figures"]["pass@1"]["value"] == pytest.approx(right / 24)


def test_a_killed_run_leaves_what_an_undisturbed_one_does(launch: Launcher, load: str) -> None:
    whole = launch(1, "sample", "sampled-whole", load, *MANY)
    run = launch.start(1, "sample", "sampled-killed", load, *MANY)
    run.signal(signal.SIGKILL, once=lambda: list(run.folder.glob("journal/2-*/part-*.arrow")))
    assert Ledger(run.folder / "ledger").iterations() == [1]
    resumed = launch(1, "sample", "sampled-killed", load, *MANY)
    assert "iteration 1: its rollouts are in the ledger already" in resumed.out[0]
    assert "iteration 2 goes on with" in resumed.out[0]
    for iteration in (1, 2, 3):
        assert_same_samples(resumed, whole, iteration)
    assert resumed.content("metrics.jsonl") == whole.content("metrics.jsonl")
    assert resumed.summary == whole.summary
    assert not (resumed.folder / "journal").exists()
    before = resumed.content("ledger/**/*")
    again = launch(1, "sample", "sampled-killed", load, *MANY)
    assert again.content("ledger/**/*") == before
    assert again.out[0].count("its rollouts are in the ledger already") == 3


def assert_same_samples(run: Run, other: Run, iteration: int) -> None:
    """Equal in everything, bit for bit, but for the rounding of the sampler's log-probs.

    A completion drawn anew after a kill shares its decode steps with others than before, and a
    product of another number of rows rounds its sums otherwise: some 3e-6 of logits near 10 in
    fp32. What was drawn before the kill, and every block that it did not meet, is the same.
    """
    one, two = (Ledger(r.folder / "ledger").table(iteration) for r in (run, other))
    rest = [name for name in one.column_names if name != "logprobs"]
    assert one.select(rest) == two.select(rest)
    logprobs = [np.concatenate(table["logprobs"].to_pylist()) for table in (one, two)]
    np.testing.assert_allclose(*logprobs, rtol=0, atol=1e-5)
    if iteration != 2:
        assert one == two


def test_a_ledger_of_other_settings_is_kept_and_refused(
    launch: Launcher, load: str, sampled: Run
) -> None:
    before = sampled.content("ledger/**/*")
    asked = (*DEV, "sample.samples_per_problem=4")
    message = launch.refused(1, "sample", "sampled", load, *asked)
    start = f"reft-megatron: ConfigError: the ledger of {sampled.folder} has 3 iterations already, "
    rest = "Choose another run.name, or rollouts.record.\n"
    assert message == (
        f"{start}and this run cannot go on with them, for it has other settings: "
        f"sample.samples_per_problem: 3 -> 4. {rest}"
    )
    message = launch.refused(1, "sample", "sampled", load, *DEV, "run.resume=false")
    assert message == f"{start}and this run cannot go on with them, for run.resume is false. {rest}"
    record = f"rollouts.record={sampled.folder / 'ledger'}"
    message = launch.refused(1, "sample", "stranger", load, *DEV, record)
    assert "cannot go on with them, for another run began it." in message
    assert sampled.content("ledger/**/*") == before


@pytest.mark.parametrize(
    ("recipe", "asked", "message"),
    [
        (
            "sample",
            ("sample.split=dev", "task.dev_size=0"),
            "DataError: task svamp has no dev problems to sample on: raise task.dev_size, or "
            "choose another sample.split.",
        ),
        (
            "sample",
            ("rollouts.replay=x",),
            "ConfigError: sample asks a policy: it has no use for rollouts.replay.",
        ),
        (
            "evaluate",
            ("evaluate.split=dev", "evaluate.samples=4", "evaluate.ledger={ledger}"),
            "DataError: evaluate.ledger has 3 samples a problem, and evaluate.samples is 4. Name "
            "the ledger of a run of the recipe sample, with as many samples.",
        ),
        (
            "evaluate",
            ("evaluate.split=train", "evaluate.ledger={ledger}"),
            "DataError: evaluate.ledger lacks 96 of 96 completions, sample 0 of svamp_",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(
    launch: Launcher, load: str, sampled: Run, recipe: str, asked: tuple[str, ...], message: str
) -> None:
    ledger = str(sampled.folder / "ledger")
    asked = tuple(setting.format(ledger=ledger) for setting in asked)
    told = launch.refused(1, recipe, "refused-sample", load, *asked)
    assert told.startswith(f"reft-megatron: {message.format(ledger=ledger)}")
