"""Offline self-training: which texts are learnt from; killed, the same run; what it refuses."""

from __future__ import annotations

import dataclasses
import re
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reft_megatron.cli import main
from reft_megatron.recipes import offline_sl
from reft_megatron.recipes.supervised import Document
from reft_megatron.types import Reason, Rollout, Verdict
from tests.launch import Launcher, Run
from tests.ranks import Ranks
from tests.recipes.scored_ledger import SAMPLES, rollouts_of, write_ledger
from tests.recipes.test_sft import assert_same

OFFLINE = (
    *("offline_sl.epochs=3", "offline_sl.batch_size=16", "offline_sl.evaluate_every=2"),
    *("checkpoint.every=1", "checkpoint.keep_last=9"),
)
PAIR = ("parallel.tensor=2", "parallel.sequence=true")
EPOCH = 6
"""Steps of an epoch: 32 gold chains and two right completions of each of 32 problems, 16 a step."""


def trained_on(launch: Launcher, **options: Any) -> list[Rollout]:
    """Six rollouts of each training problem, each of another text, two of them right."""
    names = set(launch.prompt_lengths("train"))
    return [r for r in rollouts_of(launch, **options) if r.completion.problem_id in names]


@pytest.fixture(scope="module")
def pair(launch: Launcher) -> tuple[str, ...]:
    ledger = write_ledger(launch.folder / "right-ones", launch, trained_on(launch))
    return (*OFFLINE, *PAIR, f"offline_sl.ledger={ledger}")


@pytest.fixture(scope="module")
def trained(launch: Launcher, pair: tuple[str, ...]) -> Run:
    """Three undisturbed epochs at TP2."""
    return launch(2, "offline_sl", "offline", *pair)


@pytest.mark.megatron
def test_it_learns(trained: Run) -> None:
    losses = trained.series("train/loss")
    assert len(losses) == 3 * EPOCH
    assert sum(losses[-EPOCH:]) < 0.5 * sum(losses[:EPOCH])
    assert trained.summary == {
        "epochs": 3,
        "steps": 3 * EPOCH,
        "best_dev": max(trained.series("eval/dev_accuracy")),
        "problems": 32,
        "unasked": 0,
        "unsolved": 0,
        "gold": 32,
        "sampled": 64,
    }


@pytest.mark.megatron
def test_kill_9_in_epoch_2_and_resume(
    launch: Launcher, trained: Run, pair: tuple[str, ...]
) -> None:
    run = launch.start(2, "offline_sl", "offline-killed", *pair)
    run.signal(signal.SIGKILL, once=lambda: run.has(EPOCH) and run.step > EPOCH)
    assert sorted(run.complaint.split(", ")) == [f"rank {r} ended with status 9" for r in range(2)]
    assert EPOCH < run.step < 2 * EPOCH
    resumed = launch(2, "offline_sl", "offline-killed", *pair)
    assert f"resumed after step {EPOCH}" in resumed.out[0]
    assert_same(resumed, trained, steps=range(EPOCH, 3 * EPOCH + 1, EPOCH))


@pytest.mark.megatron
def test_the_layout_does_not_matter(launch: Launcher, trained: Run, pair: tuple[str, ...]) -> None:
    alone = [setting for setting in pair if not setting.startswith("parallel.")]
    run = launch(1, "offline_sl", "offline-alone", *alone)
    for name in ("train/loss", "train/grad_norm"):
        assert run.series(name) == pytest.approx(trained.series(name), rel=1e-3)


def play_recorded(arguments: tuple[str, ...]) -> list[tuple[str, str, bool]]:
    """The command line; problem and text of all that was learnt from, and whether it ends."""
    seen: list[tuple[str, str, bool]] = []
    learn = offline_sl.supervised_step

    def record(session: Any, policy: Any, documents: list[Document]) -> Any:
        for document in documents:
            text = session.tokenizer.decode(document.tokens[document.weights > 0].tolist())
            ends = int(document.tokens[-1]) == session.tokenizer.eos_id
            seen.append((document.id, text, ends))
        return learn(session, policy, documents)

    offline_sl.supervised_step = record
    assert main(("offline_sl", *arguments, "log.progress=false")) == 0
    return seen


def rewritten(rollout: Rollout, text: str, launch: Launcher, **changes: Any) -> Rollout:
    """A right rollout that says `text`, and ended since its program had returned."""
    tokens = np.array(launch.tokenizer().encode_continuation(text), np.int32)
    completion = dataclasses.replace(
        rollout.completion,
        token_ids=tokens,
        logprobs=np.zeros(len(tokens), np.float32),
        **changes,
    )
    verdict = Verdict(reason=Reason.CORRECT, value=7.0)
    return dataclasses.replace(rollout, completion=completion, text=text, verdict=verdict)


GOLD = "    return 7"
SAID = "    return 3 + 4"
SPACED = "\n    return 3 + 4"


@pytest.fixture(scope="module")
def mixed(launch: Launcher) -> tuple[str, list[str]]:
    """A ledger of four training problems, told in the test below; and their ids."""
    of: dict[str, list[Rollout]] = {}
    for rollout in trained_on(launch, right=lambda number, sample: False):
        of.setdefault(rollout.completion.problem_id, []).append(rollout)
    names = sorted(of)[:4]
    some, same, cut, none = (of[name] for name in names)
    some = [rewritten(r, f"    x = {n}\n    return 7", launch) for n, r in enumerate(some)]
    same[1] = rewritten(same[1], SAID, launch)
    same[2] = rewritten(same[2], SPACED, launch)
    same[4] = rewritten(same[4], SAID + "  \n\n", launch)
    same[3] = rewritten(same[3], GOLD, launch)
    cut[5] = rewritten(cut[5], SAID, launch, finished=False)
    ledger = write_ledger(launch.folder / "mixed", launch, [*some, *same, *cut, *none])
    return ledger, names


@pytest.mark.megatron
def test_what_is_learnt_from(launch: Launcher, ranks: Ranks, mixed: tuple[str, list[str]]) -> None:
    """Of the first problem three of six right ones, drawn; of the second one text, and not gold's
    own; of the third one that was cut; the fourth has none; and of 28 nobody was asked."""
    ledger, (some, same, cut, _none) = mixed
    asked = (*OFFLINE, "offline_sl.epochs=1", "offline_sl.samples_per_problem=3")
    name = ("run.name=offline-mixed", f"offline_sl.ledger={ledger}")
    (seen,) = ranks(1, play_recorded, (*launch.base, *asked, *name))
    gold = [(n, t) for n, t, _ in seen if t.startswith("def solution():")]
    assert sorted(n for n, _ in gold) == sorted(launch.prompt_lengths("train"))
    assert all(text.endswith(GOLD) for _, text in gold)
    sampled = [one for one in seen if one[:2] not in gold]
    assert Counter(n for n, _, _ in sampled) == {some: 3, same: 1, cut: 1}
    texts = {text for n, text, _ in sampled if n == some}
    assert texts < {f"    x = {n}\n    return 7" for n in range(SAMPLES)}
    assert {one[1:] for one in sampled if one[0] == same} == {(SAID, True)}
    assert {one[1:] for one in sampled if one[0] == cut} == {(SAID, False)}
    assert all(ends for n, _, ends in seen if n != cut)
    run = Run(1, folder=launch.folder / "offline-mixed", told=launch.folder)
    counts = {"problems": 32, "unasked": 28, "unsolved": 1, "gold": 32, "sampled": 5}
    assert counts.items() <= run.summary.items()
    assert run.summary["steps"] == 3


@pytest.mark.megatron
def test_parity_takes_the_first_and_gold_twice(
    launch: Launcher, ranks: Ranks, mixed: tuple[str, list[str]]
) -> None:
    """Once less where one of the first says the same as gold. A blank line makes another text."""
    ledger, (some, same, cut, _none) = mixed
    asked = (*OFFLINE, "offline_sl.epochs=1", "offline_sl.samples_per_problem=3")
    name = ("run.name=offline-parity", f"offline_sl.ledger={ledger}", "task.parity=reference")
    (seen,) = ranks(1, play_recorded, (*launch.base, *asked, *name))
    gold = Counter(n for n, t, _ in seen if t.startswith("def solution():"))
    assert gold == Counter(dict.fromkeys(launch.prompt_lengths("train"), 2)) - Counter([same])
    sampled = Counter((n, t) for n, t, _ in seen if not t.startswith("def solution():"))
    assert sampled == Counter(
        [(some, f"    x = {n}\n    return 7") for n in range(3)]
        + [(same, SAID), (same, SPACED), (same, GOLD), (cut, SAID)]
    )


# What is wrong with the ledger, and what is said of it.
BAD = {
    "another task": "DataError: the rollout ledger LEDGER holds rollouts of the task gsm8k (nl)",
    "another tokenizer": "DataError: the rollout ledger LEDGER holds rollouts of the task svamp",
    "dev problems": (
        "DataError: offline_sl.ledger=LEDGER has completions of 8 problems that are not in the "
        "train split, svamp_"
    ),
    "another question": (
        "DataError: in offline_sl.ledger=LEDGER the problem svamp_FIRST is asked otherwise than "
        "in the train split: "
    ),
    "none right": (
        "DataError: offline_sl.ledger=LEDGER has nothing to learn from beside the gold chains "
        "(192 wrong, 0 recorded twice, 0 same as gold, 0 same text, 0 more of a problem). "
    ),
    "too long": "DataError: problem svamp_",
}


@pytest.mark.megatron
@pytest.mark.parametrize("case", BAD)
def test_a_ledger_that_cannot_be_learnt_from(launch: Launcher, case: str, tmp_path: Path) -> None:
    rollouts, origin = trained_on(launch), {}
    first = min(rollouts, key=lambda r: r.completion.problem_id).completion
    if case == "another task":
        origin = {"task": "gsm8k (nl)"}
    if case == "another tokenizer":
        origin = {"tokenizer": "0123456789abcdef"}
    if case == "dev problems":
        rollouts = rollouts_of(launch)
    if case == "another question":
        rollouts = [
            dataclasses.replace(
                r, completion=dataclasses.replace(r.completion, prompt_ids=first.prompt_ids[1:])
            )
            if r.completion.problem_id == first.problem_id
            else r
            for r in rollouts
        ]
    if case == "none right":
        rollouts = trained_on(launch, right=lambda number, sample: False)
    if case == "too long":
        rollouts[0] = rewritten(rollouts[0], "    x = 1\n" * 40 + GOLD, launch)
    ledger = write_ledger(tmp_path / "ledger", launch, rollouts, **origin)
    told = launch.refused(1, "offline_sl", "offline-bad", f"offline_sl.ledger={ledger}")
    wanted = BAD[case].replace("LEDGER", ledger).replace("svamp_FIRST", first.problem_id)
    assert told.startswith(f"reft-megatron: {wanted}"), told
    assert not (launch.folder / "offline-bad" / "checkpoints").exists()


@pytest.mark.megatron
def test_a_ledger_must_be_named(launch: Launcher) -> None:
    told = launch.refused(1, "offline_sl", "offline-bad")
    assert re.match(
        r"reft-megatron: ConfigError: offline_sl learns from recorded rollouts: set "
        r"offline_sl.ledger to the ledger of a run ",
        told,
    ), told
