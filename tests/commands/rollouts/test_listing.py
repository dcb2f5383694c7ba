"""The tables of iterations and of verdicts."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from reft_megatron.cli import main
from reft_megatron.commands.rollouts.listing import show_listing
from reft_megatron.commands.rollouts.selection import Reading, Selection
from reft_megatron.rollouts.ledger import Ledger
from reft_megatron.types import Completion, Reason, Rollout, Verdict


def tables(told: str) -> list[list[str]]:
    """The words of each line that has some."""
    return [line.split() for line in told.splitlines() if line.strip(" \u2500")]


def mean_length(run: Path, *reasons: Reason, iterations: tuple[int, ...] = (1, 2, 3)) -> str:
    ledger = Ledger(run / "ledger")
    rollouts = [rollout for n in iterations for rollout in ledger.read(n)]
    lengths = [
        len(rollout.completion.token_ids)
        for rollout in rollouts
        if rollout.verdict.reason in (reasons or Reason)
    ]
    return f"{np.mean(lengths):.1f}"


def test_iterations_and_verdicts_are_counted(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollouts", str(run)]) == 0
    told = capsys.readouterr()
    assert told.err == "left out, as not sealed: iteration 4\n"
    each = [mean_length(run, iterations=(n,)) for n in (1, 2, 3)]
    assert tables(told.out) == [
        ["iter-", "roll-", "prob-", "mean", "accu-", "runtime", "wrong", "mean", "policy"],
        [
            "ation",
            "outs",
            "lems",
            "reward",
            "racy",
            "error",
            "timeout",
            "value",
            "length",
            "versions",
        ],
        ["1", "4", "2", "0.275", "25.0%", "25.0%", "25.0%", "25.0%", each[0], "0"],
        ["2", "1", "1", "1.000", "100.0%", each[1], "2"],
        ["3", "2", "1", "1.000", "100.0%", each[2], "4"],
        ["all", "7", "3", "0.586", "57.1%", "14.3%", "14.3%", "14.3%", mean_length(run), "0-4"],
        ["verdict", "rollouts", "share", "mean", "reward", "mean", "length", "truncated"],
        ["correct", "4", "57.1%", "1.000", mean_length(run, Reason.CORRECT)],
        ["runtime_error", "1", "14.3%", "0.000", mean_length(run, Reason.RUNTIME_ERROR)],
        ["timeout", "1", "14.3%", "0.000", mean_length(run, Reason.TIMEOUT), "100.0%"],
        ["wrong_value", "1", "14.3%", "0.100", mean_length(run, Reason.WRONG_VALUE)],
    ]


def test_what_is_filtered_out_is_not_counted(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollouts", str(run), "--iteration", "1-2", "--min-reward", "1"]) == 0
    told = tables(capsys.readouterr().out)
    assert [row[:4] for row in told[2:5]] == [
        ["1", "1", "1", "1.000"],
        ["2", "1", "1", "1.000"],
        ["all", "2", "2", "1.000"],
    ]


@pytest.fixture
def busy(tmp_path: Path) -> Path:
    """A ledger with every reason, each half as often as the one before, and long numbers."""
    ledger = Ledger(tmp_path / "ledger")
    reasons = [reason for n, reason in enumerate(Reason) for _ in range(2 ** (11 - n))]
    rollouts = [
        Rollout(
            completion=Completion(
                problem_id=f"gsm8k_{number}",
                sample=number,
                prompt_ids=np.zeros(1, np.int32),
                token_ids=np.zeros(700, np.int32),
                logprobs=np.zeros(700, np.float32),
                finished=False,
            ),
            text="",
            verdict=Verdict(reason=reason),
            reward=0.0,
            policy_version=100_000 + number,
            seed=0,
        )
        for number, reason in enumerate(reasons)
    ]
    ledger.append(1_000, 0, rollouts)
    ledger.seal(1_000, data_size=1)
    return tmp_path / "ledger"


def test_rare_verdicts_are_put_together_so_that_all_fits_100_columns(busy: Path) -> None:
    file = io.StringIO()
    assert show_listing(Console(file=file, width=100), Reading(busy, Selection())) == 4094
    told = tables(file.getvalue())
    assert told[:2] == [
        ["iter-", "roll-", "prob-", "mean", "accu-", "wrong", "no", "syntax", "mean", "policy"],
        [
            "ation",
            "outs",
            "lems",
            "reward",
            "racy",
            "value",
            "solution",
            "error",
            "other",
            "length",
            "versions",
        ],
    ]
    shares = ["50.0%", "25.0%", "12.5%", "6.3%", "6.2%"]
    assert told[2] == ["1000", "4,094", "4,094", "0.000", *shares, "700.0", "100000-104093"]
    assert [row[0] for row in told[5:]] == [*Reason]
