"""Single rollouts on the screen."""

from __future__ import annotations

from pathlib import Path

import pytest

from reft_megatron.cli import main
from reft_megatron.errors import DataError
from reft_megatron.rollouts.ledger import Ledger
from reft_megatron.tokenizer import load_tokenizer
from tests.commands.rollouts.scene import ENDLESS, FAILING, FIRST, QUESTION, UNSCORED

RULE = "\u2500"


def shown(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> list[str]:
    assert main(["rollouts", *map(str, arguments)]) == 0
    return capsys.readouterr().out.splitlines()


def length(run: Path, iteration: int, row: int) -> int:
    return len(Ledger(run / "ledger").read(iteration)[row].completion.token_ids)


def test_a_rollout_is_shown_with_its_verdict_and_text(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(capsys, run, "--problem", "gsm8k_7", "--show")
    rules = [line.rstrip(RULE) for line in lines if line.endswith(RULE)]
    assert rules == [f"gsm8k_7  sample {n}  iteration 1  version 0 " for n in (0, 1)]
    cut, whole = length(run, 1, 2), length(run, 1, 3)
    assert [line for line in lines if not line.endswith(RULE)] == [
        f"timeout  reward 0  {cut} tokens, truncated  sampler log-prob {-cut / 2:.3f}",
        *ENDLESS.splitlines(),
        f"runtime_error (ZeroDivisionError)  reward 0  {whole} tokens  sampler log-prob "
        f"{-whole / 2:.3f}",
        *FAILING.splitlines(),
    ]


def test_answers_are_numbers_or_letters(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, run, "--show", "--min-reward", "0.1", "--iteration", "1-2")
    told = [line.partition(" tokens")[0].rpartition("  ")[0] for line in lines if " tokens" in line]
    assert told == [
        "wrong_value  answer 3  reward 0.1",
        "correct  answer 4  reward 1",
        "correct  answer b  reward 1",
    ]


def test_tokens_have_their_text_and_scores(
    run: Path, tokenizer_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(capsys, run, "--tokens", "--limit", "1", "--tokenizer", tokenizer_path)
    texts = lines[2:8]
    assert "\n".join(texts) == QUESTION + FIRST
    headings, rows = lines[9:11], [line for line in lines if "-0.5000" in line]
    assert [line.split() for line in headings] == [
        ["sampler", "policy", "ref"],
        ["#", "token", "log-prob", "log-prob", "log-prob", "value", "advantage", "return"],
    ]
    tokenizer = load_tokenizer(tokenizer_path)
    texts = [repr(tokenizer.decode([i])) for i in tokenizer.encode_continuation(FIRST)]
    texts.append(f"{tokenizer.eos_id}")
    tokens, scores = zip(*(row.split("-0.5000") for row in rows), strict=True)
    told = [token.strip().partition("  ") for token in tokens]
    assert [(place, text) for place, _, text in told] == [
        (str(place), text) for place, text in enumerate(texts)
    ]
    # The scene's scores grow by an eighth a token and by one a column.
    assert [row.split() for row in scores] == [
        [f"{number + place / 8:.4f}" for number in range(5)] for place in range(len(texts))
    ]


def test_without_tokenizer_and_scores_ids_and_gaps_are_shown(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(capsys, run, "--tokens", "--limit", "1", "--iteration", str(UNSCORED))
    ids = Ledger(run / "ledger").read(UNSCORED)[0].completion.token_ids.tolist()
    rows = [line.split() for line in lines if line.split()[-1:] == ["-0.5000"]]
    assert rows == [[str(place), str(token), "-0.5000"] for place, token in enumerate(ids)]


def test_tokens_are_not_read_with_another_tokenizer(
    run: Path, tmp_path: Path, tokenizer_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.model"
    # A field that sentencepiece does not know, as any file may have, makes it another file.
    other.write_bytes(tokenizer_path.read_bytes() + b"\xc2\x3e\x00")
    ours, theirs = (load_tokenizer(path).fingerprint for path in (other, tokenizer_path))
    assert main(["rollouts", str(run), "--show", "--tokenizer", str(other)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (
        f"reft-megatron: {DataError.__name__}: {other} is the tokenizer {ours}, and the rollout "
        f"ledger {run / 'ledger'} has token ids of {theirs}. Take the tokenizer.path of the run's "
        "config.yaml.\n"
    )
