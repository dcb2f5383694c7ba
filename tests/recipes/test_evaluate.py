"""Evaluation: a whole run of it; its figures against slow references: test_ballots."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from reft_megatron.cli import main
from reft_megatron.mesh import Axis
from reft_megatron.policy.huggingface import to_huggingface
from reft_megatron.recipes import evaluate
from reft_megatron.rollouts.journal import Journal
from reft_megatron.rollouts.ledger import Ledger
from reft_megatron.types import Rollout
from tests.launch import Launcher, Run
from tests.ranks import Ranks
from tests.recipes.scored_ledger import rollouts_of, write_ledger

UNASKED = "not asked or not judged"
METRICS = {"dev_accuracy": "top1", "vote_accuracy": "vote"}
CHECKED = ("evaluate.split=dev", "evaluate.samples=3")


@pytest.fixture(scope="module")
def checked(launch: Launcher, warm: Run) -> Run:
    """The warm run's best model, evaluated at another layout."""
    best = warm.folder / "checkpoints" / "best"
    return launch(2, "evaluate", "checked", f"model.load={best}", *CHECKED, "log.report=true")


@pytest.mark.megatron
def test_top1_is_the_share_of_right_completions(checked: Run, warm: Run) -> None:
    rows = completions(checked)
    right = [row["verdict"] == "correct" for row in rows]
    assert checked.summary["num_problems"] == len(rows) == 8
    assert checked.summary["top1"] == sum(right) / 8 == warm.summary["best_dev"] > 0
    assert right == [float(row["answer"]) == row["value"] for row in rows]
    assert checked.summary["figures"]["top-1"]["value"] == checked.summary["top1"]
    recorded = {"step": 0} | {f"eval/{k}": checked.summary[v] for k, v in METRICS.items()}
    assert checked.metrics == [recorded]


@pytest.mark.megatron
def test_a_run_is_drawn_unless_told_otherwise(checked: Run, warm: Run) -> None:
    names = ("report.html", "curves")
    assert all((checked.folder / name).exists() for name in names)
    assert not any((warm.folder / name).exists() for name in names)
    assert f"report: {checked.folder / 'report.html'}" in checked.out[0]
    assert "report: " not in warm.out[0]


@pytest.mark.megatron
def test_every_figure_is_told_with_its_interval_and_its_outcomes(checked: Run) -> None:
    figures = checked.summary["figures"]
    names = ["top-1", "vote@1", "vote@2", "vote@3", "pass@1", "pass@2", "pass@3"]
    assert list(figures) == names
    outcomes = json.loads((checked.folder / "outcomes.json").read_text())
    assert list(outcomes) == ["problems", *names]
    assert outcomes["problems"] == [row["id"] for row in completions(checked)]
    for name, figure in figures.items():
        assert figure["value"] == pytest.approx(np.mean(outcomes[name]))
        assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1
    assert figures["vote@3"]["value"] == checked.summary["vote"]
    assert figures["pass@1"]["value"] <= figures["pass@2"]["value"] <= figures["pass@3"]["value"]
    shown = "\n".join(checked.out[0].splitlines())
    page = (checked.folder / "report.html").read_text()
    assert "Accuracy on 8 dev problems" in shown
    assert "<h2>Accuracy on 8 dev problems</h2>" in page
    for name, figure in figures.items():
        assert f"{figure['low']:.1%} to {figure['high']:.1%}" in shown
        assert f"<td>{name}</td><td>{figure['value']:.1%}</td>" in page


def completions(run: Run) -> list[dict[str, Any]]:
    lines = (run.folder / "completions.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def reranker(launch: Launcher, warm: Run) -> str:
    """A reranker that has taken a few steps from the policy."""
    ledger = write_ledger(launch.folder / "evaluated-scored", launch, rollouts_of(launch))
    settings = ("model.head=rerank", "rerank.epochs=1", "rerank.batch_size=48", "rerank.dev_size=8")
    best = warm.folder / "checkpoints" / "best"
    given = (*settings, f"model.load={best}", f"rerank.ledger={ledger}")
    return str(launch(1, "rerank", "evaluated-by", *given).folder / "checkpoints" / "best")


@pytest.fixture(scope="module")
def judged(launch: Launcher, warm: Run, reranker: str) -> Run:
    """Samples drawn and reranked at one rank."""
    best = warm.folder / "checkpoints" / "best"
    given = (f"model.load={best}", f"evaluate.reranker={reranker}")
    return launch(1, "evaluate", "judged", *given, "evaluate.split=dev", "evaluate.samples=5")


def ballots(run: Run) -> dict[str, list[dict[str, Any]]]:
    """Rows of the file of ballots, by problem, as pyarrow reads them."""
    found = defaultdict(list)
    for row in pq.read_table(run.folder / "ballots.parquet").to_pylist():
        found[row["problem_id"]].append(row)
    return dict(found)


@pytest.mark.megatron
def test_anybody_can_count_again(judged: Run) -> None:
    """Votes, choices and the reranker's figures, from the file of ballots and the definitions."""
    outcomes = json.loads((judged.folder / "outcomes.json").read_text())
    found = ballots(judged)
    assert list(found) == outcomes["problems"]
    rows = [row for of_one in found.values() for row in of_one]
    assert [row["sample"] for row in rows] == [0, 1, 2, 3, 4] * 8
    assert all(row["right"] == (row["reason"] == "correct") for row in rows)
    assert len({row["score"] for row in rows}) > 8, "the story needs scores that differ"
    for k in (1, 2, 4, 5):
        for number, of_one in enumerate(found.values()):
            votes = [row for row in of_one[:k] if row["value"] is not None]
            sums: dict[str, dict[float, float]] = {"vote": {}, "weighted": {}}
            for row in votes:  # answers here are whole numbers, so that equal is within 0.01
                chance = 1 / (1 + math.exp(-row["score"]))
                for what, weight in (("vote", 1), ("weighted", chance)):
                    sums[what][row["value"]] = sums[what].get(row["value"], 0) + weight
            right = {row["value"] for row in votes if row["right"]}
            for what, counts in sums.items():
                best = max(counts, key=counts.__getitem__, default=None)
                assert outcomes[f"{what}@{k}"][number] == (best in right)
            top = max(votes, key=lambda row: row["score"], default={"right": False})
            assert outcomes[f"rerank@{k}"][number] == top["right"]
    sure = {flag: [row["score"] for row in rows if row["right"] is flag] for flag in (True, False)}
    pairs = [(a > b) + (a == b) / 2 for a in sure[True] for b in sure[False]]
    losses = [math.log1p(math.exp(-s)) for s in sure[True]]
    losses += [math.log1p(math.exp(s)) for s in sure[False]]
    told = judged.summary["reranker"]
    assert told["auc"] == pytest.approx(np.mean(pairs))
    assert told["loss"] == pytest.approx(np.mean(losses))
    assert judged.metrics[-1]["eval/rerank_auc"] == told["auc"]
    assert judged.metrics[-1]["eval/weighted_accuracy"] == judged.summary["weighted"]
    figures = judged.summary["figures"]
    assert figures["rerank@5"]["value"] == judged.summary["rerank"]
    assert (
        figures["weighted@5"]["low"] <= judged.summary["weighted"] <= figures["weighted@5"]["high"]
    )
    assert (judged.summary["samples"], judged.summary["missing"]) == (5, 0)
    assert f"AUC over the samples is {told['auc']:.3f}" in " ".join(judged.out[0].split())


@pytest.mark.megatron
def test_a_ledger_is_reranked_as_new_samples_are_at_any_layout(
    launch: Launcher, warm: Run, judged: Run, reranker: str
) -> None:
    best = warm.folder / "checkpoints" / "best"
    stored = f"evaluate.ledger={judged.folder / 'ledger'}"
    given = (f"model.load={best}", f"evaluate.reranker={reranker}", "evaluate.split=dev", stored)
    run = launch(2, "evaluate", "judged-stored", *given, "optimizer.micro_batch_tokens=200")
    assert run.content("outcomes.json") == judged.content("outcomes.json")
    assert not (run.folder / "ledger").exists(), "nothing was drawn"
    for name, rows in ballots(judged).items():
        found = ballots(run)[name]
        assert [{**row, "score": 0} for row in found] == [{**row, "score": 0} for row in rows]
        scores = [[row["score"] for row in of_one] for of_one in (found, rows)]
        np.testing.assert_allclose(*scores, rtol=0, atol=1e-5)
    # The first two samples of each, and no reranker: an earlier file of ballots is replaced.
    again = launch(
        1, "evaluate", "judged-stored", *given, "evaluate.samples=2", "evaluate.reranker="
    )
    assert {row["score"] for rows in ballots(again).values() for row in rows} == {None}
    assert {len(rows) for rows in ballots(again).values()} == {2}
    assert "reranker" not in again.summary
    assert "rerank@2" not in again.summary["figures"]
    launch(1, "evaluate", "judged-stored", f"model.load={best}", "evaluate.split=dev")
    assert not (run.folder / "ballots.parquet").exists()


@pytest.mark.megatron
def test_a_killed_evaluation_goes_on_with_its_samples(
    launch: Launcher, warm: Run, judged: Run, reranker: str
) -> None:
    best = warm.folder / "checkpoints" / "best"
    given = (f"model.load={best}", f"evaluate.reranker={reranker}", "evaluate.split=train")
    asked = (*given, "evaluate.samples=16")
    whole = launch(1, "evaluate", "judged-whole", *asked)
    run = launch.start(1, "evaluate", "judged-killed", *asked)
    run.signal(signal.SIGKILL, once=lambda: list(run.folder.glob("journal/1-*/part-*.arrow")))
    assert run.complaint == "rank 0 ended with status 9"
    assert Ledger(run.folder / "ledger").iterations() == []
    resumed = launch(1, "evaluate", "judged-killed", *asked)
    assert "iteration 1 goes on with" in resumed.out[0]
    files = ("outcomes.json", "completions.jsonl", "ballots.parquet", "metrics.jsonl")
    for name in files:
        assert resumed.content(name) == whole.content(name), name
    assert resumed.summary == whole.summary
    # Other samples are another run's; another reranker may look at the same ones.
    message = launch.refused(1, "evaluate", "judged-killed", *given, "evaluate.samples=17")
    assert (
        "for it has other settings: evaluate.samples: 16 -> 17. Choose another run.name" in message
    )
    again = launch(1, "evaluate", "judged-killed", *asked, "evaluate.reranker=")
    assert "iteration 1: its rollouts are in the ledger already" in again.out[0]
    assert again.summary["vote"] == whole.summary["vote"]


def play_blocks(arguments: tuple[str, ...], killed: bool) -> int:
    """An evaluation with blocks of eight problems; `killed` once block 2 has reached the disk."""
    evaluate._BLOCK = 8 * 4
    write = Journal._write_part

    def write_and_die(self: Journal, rollouts: list[Rollout], part: int) -> None:
        write(self, rollouts, part)
        if killed and self._folder.name.startswith("2-"):
            os.kill(os.getpid(), signal.SIGKILL)

    Journal._write_part = write_and_die
    return main(("evaluate", *arguments, "log.progress=false"))


@pytest.mark.megatron
def test_an_evaluation_of_several_blocks_goes_on_with_the_one_at_hand(
    launch: Launcher, ranks: Ranks, warm: Run
) -> None:
    load = f"model.load={warm.folder / 'checkpoints' / 'best'}"
    asked = (*launch.base, load, "evaluate.split=train", "evaluate.samples=4")
    assert ranks(1, play_blocks, (*asked, "run.name=blocks"), False) == [0]
    blocks = (*asked, "run.name=blocks-killed")
    with pytest.raises(AssertionError, match="rank 0 ended with status 9"):
        ranks(1, play_blocks, blocks, True)
    folder = launch.folder / "blocks-killed"
    assert Ledger(folder / "ledger").iterations() == [1]
    assert list(folder.glob("journal/2-*/part-*.arrow"))
    assert ranks(1, play_blocks, blocks, False) == [0]
    whole, run = (
        Run(1, folder=launch.folder / name, told=launch.folder)
        for name in ("blocks", "blocks-killed")
    )
    assert Ledger(folder / "ledger").iterations() == [1, 2, 3, 4]
    for name in ("outcomes.json", "ballots.parquet", "metrics.jsonl"):
        assert run.content(name) == whole.content(name), name
    assert run.summary == whole.summary
    assert (run.summary["missing"], sum(map(len, ballots(run).values()))) == (0, 32 * 4)


@pytest.mark.megatron
def test_a_reranker_that_cannot_be_used_is_refused_before_anything_is_asked(
    launch: Launcher, warm: Run, reranker: str, tmp_path: Path
) -> None:
    best = warm.folder / "checkpoints" / "best"
    shutil.copytree(Path(reranker).resolve(), tmp_path / "foreign")
    meta = tmp_path / "foreign" / "meta.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "tokenizer": "0123"}))
    own, samples = launch.tokenizer().fingerprint, "evaluate.samples=2"
    cases = {
        (f"evaluate.reranker={tmp_path / 'foreign'}", samples): (
            f"CheckpointError: the reranker {tmp_path / 'foreign'} reads token ids of the "
            f"tokenizer 0123, and this run has {own}. Take a reranker trained on samples of this "
            "tokenizer."
        ),
        (f"evaluate.reranker={best}", samples): (
            f"CheckpointError: {best.resolve()} is no reranker: it lacks rerank_head.weight. Take "
            "a checkpoint of the recipe rerank."
        ),
        (f"evaluate.reranker={reranker}",): (
            "ConfigError: evaluate.reranker has nothing to choose among: set evaluate.ledger to a "
            "ledger of the recipe sample, or evaluate.samples to the completions to draw of each "
            "problem."
        ),
        (f"evaluate.reranker={reranker}", samples, "optimizer.micro_batch_tokens=30"): (
            "DataError: problem svamp_"
        ),
    }
    for number, (given, wanted) in enumerate(cases.items()):
        load = (f"model.load={best}", "evaluate.split=dev")
        name = f"no-judge-{number}"
        message = launch.refused(1, "evaluate", name, *load, *given)
        assert message.startswith(f"reft-megatron: {wanted}"), message
        assert not list((launch.folder / name).iterdir()), "nothing was begun"


@pytest.mark.megatron
def test_again_is_harmless(launch: Launcher, checked: Run, warm: Run) -> None:
    files = ("*.json*", "config.yaml")
    before = [checked.content(pattern) for pattern in files]
    best = warm.folder / "checkpoints" / "best"
    launch(2, "evaluate", "checked", f"model.load={best}", *CHECKED)
    after = [checked.content(pattern) for pattern in files]
    timing = "timing.jsonl"
    assert {**after[0], timing: b""} == {**before[0], timing: b""}


@pytest.mark.megatron
def test_a_prompt_too_long_counts_as_wrong(launch: Launcher, warm: Run, checked: Run) -> None:
    best = warm.folder / "checkpoints" / "best"
    lengths = launch.prompt_lengths("dev")
    limit = min(lengths.values())
    few = (f"generate.max_prompt_tokens={limit}", "evaluate.split=dev")
    run = launch(1, "evaluate", "short", f"model.load={best}", *few)
    wanted = completions(checked)
    for row in wanted:
        if lengths[row["id"]] > limit:
            row |= {
                "completion": "",
                "verdict": UNASKED,
                "detail": "",
                "value": None,
                "reward": None,
            }
    assert completions(run) == wanted
    assert 0 < [row["verdict"] for row in wanted].count(UNASKED) < 8
    assert run.summary["top1"] == sum(row["verdict"] == "correct" for row in wanted) / 8


@pytest.mark.megatron
def test_weights_alone_are_enough(launch: Launcher, warm: Run, checked: Run) -> None:
    """Of a folder in Megatron's format that says nothing of the model around them."""
    load = (f"model.load={warm.folder}/checkpoints/best/weights", "model.preset=galactica-tiny")
    run = launch(1, "evaluate", "bare", *load, *CHECKED)
    assert completions(run) == completions(checked)


@pytest.mark.megatron
def test_a_hugging_face_folder_is_named_where_it_is_evaluated(
    launch: Launcher, warm: Run, checked: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "hf"
    to_huggingface(warm.folder / "checkpoints" / "best", folder, world=Axis())
    run = launch(1, "evaluate", "published", f"model.hf={folder}", *CHECKED)
    assert run.summary == {**checked.summary, "checkpoint": str(folder)}
    assert run.out[0].splitlines()[0].endswith(f", cpu, {folder}")


@pytest.mark.megatron
def test_a_training_run_is_not_overwritten(launch: Launcher, warm: Run) -> None:
    before = warm.content("**/*")
    message = launch.refused(1, "evaluate", "warm", "evaluate.split=dev")
    assert message == (
        f"reft-megatron: ConfigError: {warm.folder} holds a run of the recipe sft, and this is "
        "evaluate, which would mix its results with those. Choose another run.name.\n"
    )
    assert warm.content("**/*") == before


@pytest.mark.megatron
def test_nothing_to_evaluate_on(launch: Launcher) -> None:
    message = launch.refused(1, "evaluate", "none", "evaluate.split=dev", "task.dev_size=0")
    assert message == (
        "reft-megatron: DataError: task svamp has no dev problems to evaluate on: raise "
        "task.dev_size, or choose another evaluate.split.\n"
    )
