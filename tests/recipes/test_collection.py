"""Rollouts sampled, recovered after a kill, or replayed: always the same run."""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from reft_megatron.cli import main
from reft_megatron.rewards import Judge
from reft_megatron.rollouts.ledger import Ledger
from reft_megatron.types import Reason, Verdict
from tests.launch import CONSTANT_LR, Launcher, Run, differences
from tests.ranks import Ranks
from tests.thorough import choose

pytestmark = pytest.mark.megatron
SETTINGS = (
    *CONSTANT_LR,
    "optimizer.lr=0.0003",
    "ppo.batch_size=8",
    "ppo.samples_per_problem=2",
    "ppo.iterations=3",
    "ppo.evaluate_every=2",
    "checkpoint.every=1",
    "checkpoint.keep_last=99",
)
MANY = (*SETTINGS, "ppo.batch_size=32", "ppo.samples_per_problem=8", "ppo.iterations=1")
"""So many rollouts that the journal is written while others are generated."""
KILLS = choose(2, 10)


@pytest.fixture(scope="module")
def settings(launch: Launcher) -> tuple[str, ...]:
    warm = ("sft.epochs=2", "sft.batch_size=4", "checkpoint.every=1", "checkpoint.keep_last=9")
    run = launch(1, "sft", "collection-warm", *warm, *CONSTANT_LR)
    return (f"model.load={run.folder / 'checkpoints' / 'latest'}",)


@pytest.fixture(scope="module")
def live(launch: Launcher, settings: tuple[str, ...]) -> Run:
    """Two replicas, three iterations, nothing disturbed."""
    return launch(2, "ppo", "live", *SETTINGS, *settings)


def assert_same_training(run: Run, other: Run, iterations: tuple[int, ...] = (1, 2, 3)) -> None:
    """Equal metrics, weights and optimizer, bit for bit; only the settings may differ."""
    assert run.metrics == other.metrics
    found = {name for i in iterations for name in differences(run, other, i)}
    assert found <= {"meta.json"}


def test_replayed_rollouts_give_the_very_same_updates(
    launch: Launcher, settings: tuple[str, ...], live: Run
):
    run = launch(
        2, "ppo", "replayed", *SETTINGS, *settings, f"rollouts.replay={live.folder / 'ledger'}"
    )
    assert_same_training(run, live)
    assert run.content("ledger/**/*.parquet") == live.content("ledger/**/*.parquet")


def test_rollouts_generated_alone_are_those_of_a_run(
    launch: Launcher, settings: tuple[str, ...], live: Run
):
    """Nothing is trained, so only the first iteration's are the same; then they are trained on."""
    folder = live.folder.parent / "recorded"
    run = launch(
        2,
        "ppo",
        "alone",
        *SETTINGS,
        *settings,
        "rollouts.generate_only=true",
        f"rollouts.record={folder}",
    )
    assert not (run.folder / "ledger").exists()
    assert Ledger(folder).iterations() == [1, 2, 3]
    first = {p.name: p.read_bytes() for p in (folder / "iteration-000001").glob("*.parquet")}
    wanted = live.content("ledger/iteration-000001/*.parquet")
    assert sorted(first.values()) == sorted(wanted.values())
    versions = {r.policy_version for i in (1, 2, 3) for r in Ledger(folder).read(i)}
    assert versions == {0}
    told = launch.refused(2, "ppo", "stale", *SETTINGS, *settings, f"rollouts.replay={folder}")
    assert told.startswith(
        "reft-megatron: DataError: a rollout was sampled 2 optimizer steps before policy version 2"
    )
    corrected = launch(
        1,
        "ppo",
        "corrected",
        *SETTINGS,
        *settings,
        f"rollouts.replay={folder}",
        "rollouts.importance_cap=2",
    )
    # Rollouts of the policy's own version agree; there are none after the first update.
    assert corrected.series("mismatch/ratio") == [pytest.approx(1, abs=1e-4), 1.0, 1.0]


def test_sampler_and_trainer_agree_in_fp32(live: Run):
    assert max(live.series("mismatch/ratio")) <= 1.0001
    assert max(live.series("mismatch/k3")) < 1e-8


def test_a_mismatch_stops_the_run(launch: Launcher, settings: tuple[str, ...]):
    told = launch.refused(1, "ppo", "apart", *SETTINGS, *settings, "rollouts.mismatch_stop=1")
    assert told.startswith("reft-megatron: TrainingError: iteration 1: sampler and trainer differ")
    assert Ledger(launch.folder / "apart" / "ledger").iterations() == [1], "to be looked at"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("rollouts.replay=nowhere",), "rollouts.replay=nowhere lacks iteration 1 and 2 others"),
        (("rollouts.replay=a", "rollouts.generate_only=true"), "set one of them"),
        (("rollouts.replay=a", "rollouts.record=./b/../a"), "Choose another rollouts.record"),
        (("rollouts.replay={folder}/refused/ledger",), "Choose another rollouts.record"),
    ],
)
def test_what_cannot_be_collected_is_refused(
    launch: Launcher, settings: tuple[str, ...], asked: tuple[str, ...], told: str
):
    asked = tuple(setting.format(folder=launch.folder) for setting in asked)
    assert told in launch.refused(1, "ppo", "refused", *SETTINGS, *settings, *asked)


def test_a_ledger_of_another_run_is_not_dropped(
    launch: Launcher, settings: tuple[str, ...], live: Run
):
    """Neither by a fresh run nor by one that goes on and is told to record there."""
    before = live.content("ledger/**/*")
    record = f"rollouts.record={live.folder / 'ledger'}"
    wanted = (
        f"reft-megatron: ConfigError: {record} has 3 iterations already, of another run or of one "
        "with other settings, and this run would drop them. Choose another rollouts.record, or "
        "remove what is there.\n"
    )
    assert launch.refused(1, "ppo", "strange", *SETTINGS, *settings, record) == wanted
    few = (*SETTINGS, *settings, "run.seed=5")
    launch(1, "ppo", "shorter", *few, "ppo.iterations=1")
    assert launch.refused(1, "ppo", "shorter", *few, record) == wanted
    assert live.content("ledger/**/*") == before


def test_a_killed_generation_goes_on_with_its_journal(launch: Launcher, settings: tuple[str, ...]):
    whole = launch(2, "ppo", "many", *MANY, *settings)
    run = launch.start(2, "ppo", "many-killed", *MANY, *settings)
    run.signal(signal.SIGKILL, once=lambda: list(run.folder.glob("journal/1-*/part-*.arrow")))
    assert not run.has(1)
    part = next(run.folder.glob("journal/1-*/part-*.arrow"))
    torn = part.with_name(f"part-00007-000000-{'0' * 32}.arrow")
    torn.write_bytes(part.read_bytes()[:-9])
    # On one replica now: whose rollouts they were does not matter.
    resumed = launch(1, "ppo", "many-killed", *MANY, *settings)
    assert f"dropped {torn}: it is torn or altered" in resumed.out[0].replace("\n", "")
    assert "iteration 1 goes on with" in resumed.out[0]
    assert rollouts(resumed, 1) == rollouts(whole, 1)
    assert not (resumed.folder / "journal").exists()


def test_nothing_is_believed_that_other_weights_left(
    launch: Launcher, settings: tuple[str, ...], tmp_path: Path
):
    """A checkpoint that is written anew in its place has the settings of the one before it."""
    steps = sorted((launch.folder / "collection-warm" / "checkpoints").glob("step_*"))
    weights = tmp_path / "weights"
    asked = (*MANY, f"model.load={weights}")

    def write_anew(step: Path) -> None:
        shutil.rmtree(weights, ignore_errors=True)
        shutil.copytree(step, weights)

    write_anew(steps[0])
    run = launch.start(1, "ppo", "rewritten", *asked)
    run.signal(signal.SIGKILL, once=lambda: list(run.folder.glob("journal/1-*/part-*.arrow")))
    (journal,) = run.folder.glob("journal/1-*")
    write_anew(steps[1])
    run = launch(1, "ppo", "rewritten", *asked)
    assert f"dropped {journal}: it is not of iteration 1" in run.out[0].replace("\n", "")
    assert "goes on with" not in run.out[0]
    second = Ledger(run.folder / "ledger").origin(1)
    # As a kill between ledger and checkpoint leaves it.
    shutil.rmtree(run.folder / "checkpoints")
    write_anew(steps[0])
    run = launch(1, "ppo", "rewritten", *asked)
    assert "in the ledger already" not in run.out[0]
    assert Ledger(run.folder / "ledger").origin(1) != second


def rollouts(run: Run, iteration: int) -> dict[tuple[str, int], list[int]]:
    """Tokens by problem and sample."""
    found = Ledger(run.folder / "ledger").read(iteration)
    return {
        (r.completion.problem_id, r.completion.sample): r.completion.token_ids.tolist()
        for r in found
    }


def play_faults(count: int, arguments: tuple[str, ...]) -> int:
    """A run whose checker cannot judge the first `count` completions that it is given."""
    judge, left = Judge.judge, count

    def judge_some(self: Judge, items: Sequence[tuple[str, str]]) -> list[Verdict]:
        nonlocal left
        verdicts = judge(self, items)
        faults = min(left, len(verdicts))
        left -= faults
        return [Verdict(reason=Reason.EXECUTOR_FAULT)] * faults + verdicts[faults:]

    Judge.judge = judge_some
    return main(("ppo", *arguments))


def test_an_iteration_from_the_ledger_has_the_same_metrics_faults_too(
    launch: Launcher, ranks: Ranks, settings: tuple[str, ...]
):
    name = ("run.name=faulty", "ppo.iterations=1", "rewards.max_fault_fraction=0.5")
    arguments = (*launch.base, *SETTINGS, *settings, *name, "log.progress=false")
    assert ranks(1, play_faults, 3, arguments) == [0]
    run = Run(1, folder=launch.folder / "faulty", told=launch.folder)
    before = run.content("metrics.jsonl")
    assert run.series("faults/executor") == [3]
    assert run.series(f"verdict/{Reason.EXECUTOR_FAULT}") == [3 / 16]
    # As a kill between ledger and checkpoint leaves it.
    shutil.rmtree(run.folder / "checkpoints")
    assert ranks(1, play_faults, 0, arguments) == [0]
    assert run.content("metrics.jsonl") == before


def test_kills_at_random_moments_change_nothing(launch: Launcher, settings: tuple[str, ...]):
    asked = (*SETTINGS, *settings, f"ppo.iterations={2 * KILLS + 4}", "checkpoint.every=3")
    whole = launch(1, "ppo", "undisturbed", *asked)
    moments = random.Random(5)
    killed = []
    for number in range(KILLS + 1):
        run = launch.start(1, "ppo", "disturbed", *asked)
        if number == KILLS:
            run.wait()
            break
        before = run.step
        pids = run.pids
        while not (run.step > before or run.codes):
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.6))
        os.kill(pids[0], signal.SIGKILL)
        run.wait()
        killed.append(run.step)
    assert run.codes == [0]
    print(f"\nkilled in or after iterations {killed}")
    assert len(set(killed)) >= min(KILLS, 3)
    assert max(killed) < 2 * KILLS + 4, "each kill must meet a run that is at work"
    assert run.content("metrics.jsonl") == whole.content("metrics.jsonl")
    assert run.content("ledger/**/*") == whole.content("ledger/**/*")
    assert run.summary == whole.summary
    assert differences(run, whole, 2 * KILLS + 4) == []


def test_a_journal_that_one_rank_cannot_write_ends_all(launch: Launcher, settings: tuple[str, ...]):
    """The disk refuses the second of two ranks; the first must not wait for it, nor blame it."""
    run = launch.start(2, "ppo", "refused-journal", *MANY, *settings)
    # A limit on the size of files stands for a full disk: the write fails half-way.
    resource.prlimit(run.pids[1], resource.RLIMIT_FSIZE, (1000, 1000))
    run.wait()
    assert run.codes == [1, 1], run.complaint
    assert run.err[0] == run.err[1]
    assert re.fullmatch(
        r"reft-megatron: DataError: cannot write \S+/journal/1-\S+/part-00001-\S+\.arrow: File too "
        r"large; it takes about [\d,]+ bytes\. .*\n",
        run.err[0],
    ), run.err[0]


def test_a_rank_that_dies_is_named_by_the_others(launch: Launcher, settings: tuple[str, ...]):
    run = launch.start(2, "ppo", "widowed", *MANY, *settings, "ppo.iterations=99")
    while not list(run.folder.glob("journal/1-*/part-*.arrow")):
        time.sleep(0.002)
    os.kill(run.pids[1], signal.SIGKILL)
    run.wait()
    assert "rank 1 ended with status 9" in run.complaint
    assert "TrainingError: rank 1 (" in run.err[0]
    assert "Nothing that was saved is lost" in run.err[0]
    assert Ledger(run.folder / "ledger").iterations() == []
