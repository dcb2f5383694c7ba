"""A problem's samples over iterations."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from reft_megatron.cli import main
from reft_megatron.commands.rollouts.biography import show_biography
from reft_megatron.commands.rollouts.selection import Reading, Selection
from reft_megatron.rollouts.ledger import Ledger
from tests.commands.rollouts.scene import FIRST, SECOND

RULE = "\u2500"


def test_every_sample_has_its_row_and_its_difference(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rollouts", str(run), "--biography", "gsm8k_12"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip(f" {RULE}")]
    short, long = (len(Ledger(run / "ledger").read(1)[n].completion.token_ids) for n in (0, 1))
    values = [[f"{2:.4f}", f"{2 + (n - 1) / 8:.4f}"] for n in (short, long)]
    assert [line.split() for line in lines[1:6]] == [
        [
            "iteration",
            "version",
            "sample",
            "verdict",
            "answer",
            "reward",
            "tokens",
            "first",
            "last",
        ],
        ["1", "0", "0", "wrong_value", "3", "0.1", str(short), *values[0]],
        ["1", "0", "1", "correct", "4", "1", str(long), *values[1]],
        ["3", "4", "0", "correct", "4", "1", str(long)],
        ["3", "4", "1", "correct", "4", "1", str(long)],
    ]
    assert [line.rstrip(RULE) for line in lines[6:]] == [
        "gsm8k_12  sample 0  iteration 1  version 0 ",
        *FIRST.splitlines(),
        "gsm8k_12  sample 1  iteration 1  version 0 ",
        *SECOND.splitlines(),
        "gsm8k_12  sample 0  iteration 3  version 4 ",
        "--- iteration 1, version 0",
        "+++ iteration 3, version 4",
        "@@ -1,3 +1,3 @@",
        " def solution():",
        "     a = 3",
        "-    return a",
        "+    return a + 1",
        "gsm8k_12  sample 1  iteration 3  version 4 ",
        "as in iteration 1",
    ]


def test_differences_are_coloured_on_a_terminal(run: Path) -> None:
    file = io.StringIO()
    terminal = Console(file=file, force_terminal=True, color_system="standard", width=100)
    assert show_biography(terminal, Reading(run / "ledger", Selection(problem="gsm8k_12"))) == 4
    told = file.getvalue()
    assert "\x1b[31m-    return a\x1b[0m" in told
    assert "\x1b[32m+    return a + 1\x1b[0m" in told
    assert "\x1b[36m@@ -1,3 +1,3 @@\x1b[0m" in told


def test_filters_apply(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollouts", str(run), "--biography", "gsm8k_12", "--wrong"]) == 0
    told = capsys.readouterr().out
    assert "sample 0  iteration 1" in told
    assert "iteration 3" not in told
