"""The Python of docs/rollouts.md runs, on a ledger such as a run leaves."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from reft_megatron.recipes.ballots import BALLOTS
from reft_megatron.rollouts.ledger import Ledger, Origin
from reft_megatron.rollouts.schema import LEDGER, SCORES, to_table
from reft_megatron.types import Reason, Verdict
from tests.rollouts.scene import make_rollout

PAGE = (Path(__file__).parents[2] / "docs" / "rollouts.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
REASONS = (Reason.CORRECT, Reason.WRONG_VALUE, Reason.TIMEOUT)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run of two iterations, the second without scores; the process is in it."""
    origin = Origin(task="gsm8k (program)", tokenizer="0123456789abcdef")
    ledger = Ledger(tmp_path / "runs" / "gsm8k-tiny-reft" / "ledger", origin=origin)
    for iteration in (1, 2):
        rollouts = [
            make_rollout(n, 0, verdict=Verdict(reason=REASONS[n % 3]), policy_version=iteration)
            for n in range(12)
        ]
        scores = [np.ones(len(r.completion.token_ids), np.float32) for r in rollouts]
        scored = dict.fromkeys(SCORES, scores) if iteration == 1 else {}
        for rank in range(2):
            mine = {name: rows[rank::2] for name, rows in scored.items()}
            ledger.append(iteration, rank, to_table(rollouts[rank::2], mine))
        ledger.seal(iteration, data_size=2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_is_a_block_for_each_tool():
    for tool in ("pyarrow.parquet", "pandas", "Ledger", "correct"):
        assert any(tool in block for block in BLOCKS)


TOLD = {
    "pyarrow.parquet": LEDGER.names[0],
    "pandas": "policy_version",
    "import Ledger\n\nledger": "2 Origin(task='gsm8k (program)', tokenizer='0123456789abcdef', ",
    "correct": "4 right ones, different in text; {'wrong': 16, 'recorded twice': 0",
}
"""What each block must print, by a word that it contains alone."""


@pytest.mark.parametrize("word", TOLD)
def test_a_block_runs(run: Path, capsys: pytest.CaptureFixture[str], word: str):
    (block,) = [block for block in BLOCKS if word in block]
    exec(compile(block, "docs/rollouts.md", "exec"), {})
    assert TOLD[word] in capsys.readouterr().out


def columns(page: str) -> list[str]:
    """Names in the first column of the tables of a page, in order."""
    told = re.findall(r"^\| (`[^|]+) \|", page, re.MULTILINE)
    return [name for row in told for name in re.findall(r"`(\w+)`", row)]


def test_every_column_is_explained():
    rollouts, ballots = PAGE.split("## The ballots of an evaluation")
    assert columns(rollouts) == [
        *("problem_id", "sample", "policy_version", "seed", "prompt_ids", "token_ids", "logprobs"),
        *("finished", "text", "reason", "detail", "value", "letter", "reward", *SCORES),
    ]
    assert set(LEDGER.names) == set(columns(rollouts))
    assert columns(ballots) == BALLOTS.names
