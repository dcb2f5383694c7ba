"""Online self-training: what is learnt from and how it is weighed; killed, the same run."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reft_megatron.cli import main
from reft_megatron.log.metrics import check_names
from reft_megatron.recipes import online_sl
from reft_megatron.recipes.online_sl import halves
from reft_megatron.recipes.supervised import Document
from reft_megatron.rollouts.ledger import Ledger
from reft_megatron.rollouts.views import normalised
from tests.launch import CONSTANT_LR, QUAD, Launcher, Run, differences
from tests.ranks import Ranks

SETTINGS = (
    *CONSTANT_LR,
    *("optimizer.lr=0.0003", "online_sl.batch_size=8", "online_sl.samples_per_problem=2"),
    *("online_sl.evaluate_every=2", "checkpoint.every=1", "checkpoint.keep_last=9"),
)
GOLD = "    return 3 + 4"
"""Of the items below: as right as what the policy says, and in other words."""


@pytest.fixture(scope="module")
def settings(launch: Launcher, warm: Run) -> tuple[str, ...]:
    """From an early checkpoint of the warm-up, which says `return 7`; the gold chains do not."""
    path = launch.folder / "other_gold.json"
    text = (launch.folder / "items.json").read_text()
    path.write_text(text.replace("    return 7", GOLD))
    return (*SETTINGS, f"model.load={warm.checkpoint(8)}", f"task.train={path}")


@pytest.fixture(scope="module")
def staged(settings: tuple[str, ...]) -> tuple[str, ...]:
    return (*settings, "parallel.pipeline=2", "model.dropout=0.1", "online_sl.iterations=3")


@pytest.fixture(scope="module")
def trained(launch: Launcher, staged: tuple[str, ...]) -> Run:
    """Three undisturbed iterations at PP2."""
    return launch(2, "online_sl", "self-trained", *staged)


@pytest.mark.megatron
def test_kill_9_in_iteration_2_and_resume(
    launch: Launcher, trained: Run, staged: tuple[str, ...]
) -> None:
    run = launch.start(2, "online_sl", "self-killed", *staged)
    begun = run.folder / "ledger" / "iteration-000002"
    run.signal(signal.SIGKILL, once=lambda: run.has(1) and begun.exists())
    assert sorted(run.complaint.split(", ")) == [f"rank {r} ended with status 9" for r in range(2)]
    assert not run.has(2)
    resumed = launch(2, "online_sl", "self-killed", *staged)
    assert "resumed after step 1" in resumed.out[0]
    assert resumed.content("metrics.jsonl") == trained.content("metrics.jsonl")
    assert resumed.content("ledger/**/*") == trained.content("ledger/**/*")
    assert len(resumed.content("ledger/**/*")) == 3 * 2
    assert resumed.summary == trained.summary
    assert [differences(resumed, trained, number) for number in (1, 2, 3)] == [[]] * 3


@pytest.mark.megatron
def test_metrics_make_sense(trained: Run) -> None:
    iterations = [record for record in trained.metrics if "reward/mean" in record]
    assert [record["step"] for record in iterations] == [1, 2, 3]
    for record in iterations:
        check_names(name for name in record if name != "step")
        halves = (record["train/sampled_loss"], record["train/gold_loss"])
        assert record["train/loss"] == pytest.approx(sum(halves) / 2)
        assert 0 < record["learnt/sampled"] <= 16 * record["reward/accuracy"]
        assert 0 <= record["learnt/unsolved"] <= 8
        assert not {"kl/token", "value/loss", "policy/ratio"} & set(record)
    golds = trained.series("train/gold_loss")
    assert golds[-1] < golds[0], "new words are learnt"
    assert trained.summary == {
        "iterations": 3,
        "steps": 6,
        "best_dev": max(trained.series("eval/dev_accuracy")),
    }


@pytest.mark.megatron
def test_a_replay_gives_the_very_same_updates_and_must_ask_the_same(
    launch: Launcher, trained: Run, staged: tuple[str, ...]
) -> None:
    """Gold chains are those of the run's own problems."""
    replay = f"rollouts.replay={trained.folder / 'ledger'}"
    run = launch(2, "online_sl", "self-replayed", *staged, replay)
    assert run.content("metrics.jsonl") == trained.content("metrics.jsonl")
    message = launch.refused(2, "online_sl", "self-strange", *staged, replay, "run.seed=5")
    assert message.startswith(
        f"reft-megatron: ConfigError: iteration 1 of {replay} has completions"
    )


def play_recorded(arguments: tuple[str, ...]) -> list[dict[str, Any]]:
    """The command line, and what each update was given: ids, learnt texts, sums of weights."""
    seen: list[dict[str, Any]] = []
    lay_out = online_sl.micro_batches

    def record(session: Any, documents: list[Document], *, fields: dict[str, Any]) -> Any:
        texts = [session.tokenizer.decode(d.tokens[d.weights > 0].tolist()) for d in documents]
        sums = {
            name: [float(row.sum(dtype=np.float64)) for row in rows]
            for name, rows in fields.items()
        }
        eos = session.tokenizer.eos_id
        ends = [int(d.tokens[-1]) == eos for d in documents]
        seen.append({"ids": [d.id for d in documents], "texts": texts, "ends": ends, **sums})
        return lay_out(session, documents, fields=fields)

    online_sl.micro_batches = record
    assert main(("online_sl", *arguments, "log.progress=false")) == 0
    return seen


def right_texts(folder: Path, number: int, *, reference: bool) -> list[tuple[str, str]]:
    """What may be learnt from, by hand: (problem, text) in order of problem and sample."""
    found = sorted(
        ((r.completion.problem_id, r.completion.sample), r.text)
        for r in Ledger(folder).read(number)
        if r.verdict.correct
    )
    pairs = [(key[0], text) for key, text in found]
    if reference:
        return pairs
    kept: list[tuple[str, str]] = []
    for name, text in pairs:
        said = [normalised(t) for n, t in kept if n == name]
        if normalised(text) not in (*said, normalised(GOLD)):
            kept.append((name, text))
    return kept


@pytest.mark.megatron
@pytest.mark.parametrize("parity", ["correct", "reference"])
def test_right_completions_and_gold_chains_half_and_half(
    launch: Launcher, ranks: Ranks, trained: Run, settings: tuple[str, ...], parity: str
) -> None:
    """And the layout does not matter: one rank does what two did."""
    name = f"self-{parity}"
    asked = (*settings, f"task.parity={parity}", "online_sl.iterations=2", f"run.name={name}")
    (seen,) = ranks(1, play_recorded, (*launch.base, *asked))
    run = Run(1, folder=launch.folder / name, told=launch.folder)
    assert len(seen) == 2
    for number, (update, told) in enumerate(zip(seen, run.metrics, strict=False), 1):
        problems = {r.completion.problem_id for r in Ledger(run.folder / "ledger").read(number)}
        sampled = right_texts(run.folder / "ledger", number, reference=parity == "reference")
        count = len(sampled)
        assert count > 0
        assert list(zip(update["ids"], update["texts"], strict=True))[:count] == sampled
        assert sorted(update["ids"][count:]) == sorted(problems)
        golds = update["texts"][count:]
        assert all(t.startswith("def solution():\n") and t.endswith(GOLD) for t in golds)
        assert all(update["ends"][count:])
        assert sum(update["sampled_weights"]) == pytest.approx(1)
        assert update["sampled_weights"][count:] == [0] * len(golds)
        assert sum(update["gold_weights"]) == pytest.approx(1)
        assert update["gold_weights"][:count] == [0] * count
        assert told["learnt/sampled"] == count
        solved = {name for name, _ in right_texts(run.folder / "ledger", number, reference=True)}
        assert told["learnt/unsolved"] == len(problems - solved)


@pytest.mark.megatron
def test_the_layout_does_not_matter(launch: Launcher, settings: tuple[str, ...]) -> None:
    runs = [
        launch(world, "online_sl", f"self-{world}", *settings, *layout, "online_sl.iterations=2")
        for world, layout in ((4, QUAD), (2, ()))
    ]
    assert len(runs[0].metrics) == len(runs[1].metrics)
    for record, other in zip(runs[0].metrics, runs[1].metrics, strict=True):
        assert record == pytest.approx(other, rel=1e-4, abs=1e-4)
    for number in (1, 2):
        texts = [right_texts(run.folder / "ledger", number, reference=True) for run in runs]
        assert texts[0] == texts[1]


@pytest.mark.megatron
def test_where_nothing_is_right_gold_weighs_half(launch: Launcher) -> None:
    """Random weights answer nothing; and the policy still learns from its gold chains."""
    run = launch(1, "online_sl", "self-random", *SETTINGS, "online_sl.iterations=4",
                 "optimizer.lr=0.003")  # fmt: skip
    assert run.series("reward/accuracy") == [0] * 4
    assert run.series("learnt/sampled") == [0] * 4
    assert run.series("learnt/unsolved") == [8] * 4
    assert run.series("train/sampled_loss") == []
    losses, golds = run.series("train/loss"), run.series("train/gold_loss")
    assert losses == pytest.approx([gold / 2 for gold in golds])
    assert losses[-1] < losses[0]


@pytest.mark.megatron
def test_what_says_the_same_as_gold_is_not_learnt_from_twice(launch: Launcher, warm: Run) -> None:
    """Here the gold chains say what the policy says."""
    load = f"model.load={warm.checkpoint(8)}"
    run = launch(1, "online_sl", "self-same", *SETTINGS, load, "online_sl.iterations=1")
    right = {
        (name, normalised(text))
        for name, text in right_texts(run.folder / "ledger", 1, reference=True)
    }
    gold = {(name, text) for name, text in right if text == "return 7"}
    assert gold, "the story needs some"
    assert run.series("learnt/sampled") == [len(right - gold)]
    assert run.series("learnt/unsolved")[0] < 8


@pytest.mark.megatron
def test_what_online_self_training_has_no_use_for(launch: Launcher) -> None:
    told = launch.refused(1, "online_sl", "self-weighed", "rollouts.importance_cap=2")
    assert told == (
        "reft-megatron: ConfigError: rollouts.importance_cap weighs the tokens of PPO, and "
        "online_sl knows no such weights. Set it to 0.\n"
    )


def document(weights: list[float]) -> Document:
    return Document(
        id="x", tokens=np.zeros(len(weights), np.int32), weights=np.array(weights, np.float32)
    )


@pytest.mark.parametrize("counts", [(0, 1), (1, 1), (3, 2)])
def test_halves_are_means_over_their_own_tokens(counts: tuple[int, int]) -> None:
    sampled, gold = ([document([0, 1, 1] + [1] * n) for n in range(count)] for count in counts)
    weights = halves(sampled, gold)
    for name, part in (("sampled_weights", sampled), ("gold_weights", gold)):
        assert [len(row) for row in weights[name]] == [len(d.tokens) for d in [*sampled, *gold]]
        flat = np.concatenate(weights[name])
        tokens = sum(int(d.weights.sum()) for d in part)
        assert set(flat.tolist()) <= {0.0, float(np.float32(1) / np.float32(max(tokens, 1)))}
        assert (flat > 0).sum() == tokens
    assert not any(row.any() for row in weights["sampled_weights"][len(sampled) :])
    assert not any(row.any() for row in weights["gold_weights"][: len(sampled)])
