"""The command line: what goes together, damage, empty results, and the commands of the page."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from reft_megatron.cli import main
from reft_megatron.commands.rollouts import parser

PAGE = Path(__file__).parents[3] / "docs" / "rollouts.md"


def examples(text: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", "", text)
    return re.findall(r"^ *reft-megatron (rollouts .*)$", joined, re.MULTILINE)


@pytest.mark.parametrize("text", [PAGE.read_text(), parser().epilog], ids=["page", "help"])
def test_the_commands_that_are_told_work(
    text: str,
    run: Path,
    tokenizer_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    commands = examples(text)
    assert len(commands) >= 5
    for path in ("runs", "data/gsm8k"):
        (run.parent / path).mkdir(parents=True)
    run.rename(run.parent / "runs" / "gsm8k-tiny-reft")
    shutil.copy(tokenizer_path, run.parent / "data" / "gsm8k" / "tiny.model")
    monkeypatch.chdir(run.parent)
    for command in commands:
        assert main(shlex.split(command)) == 0, command
        assert "no rollout" not in capsys.readouterr().out, command


def test_nothing_found_is_said(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for way in ([], ["--show"], ["--tokens"]):
        assert main(["rollouts", str(run), "--problem", "gsm8k_99", *way]) == 0
        assert capsys.readouterr().out == "no rollout matches\n"
    assert main(["rollouts", str(run), "--biography", "gsm8k_99"]) == 0
    assert capsys.readouterr().out == "no rollout matches\n"
    path = run / "none.jsonl"
    assert main(["rollouts", str(run), "--version", "99", "--export", str(path)]) == 0
    assert capsys.readouterr().out == f"no rollout matches\n{path}: 0 rollouts\n"
    assert path.read_text() == ""


def test_damage_is_named_when_the_rest_has_been_shown(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torn = run / "ledger" / "iteration-000001" / "rank-00000.parquet"
    torn.write_bytes(torn.read_bytes()[:200])
    assert main(["rollouts", str(run), "--show", "--iteration", "1-2"]) == 1
    told = capsys.readouterr()
    shown = re.findall(r"^(\S+)  sample", told.out, re.MULTILINE)
    assert shown == ["gsm8k_7", "gsm8k_7", "mathqa_1"]
    assert told.err == (
        "reft-megatron: DataError: what is shown lacks the rollouts of what is damaged: the ledger "
        f"file {torn} is torn or altered.\n"
    )


def test_an_iteration_that_is_not_there(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollouts", str(run), "--iteration", "7-9"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("reft-megatron: DataError: iteration 7-9 of the rollout ledger ")


def test_no_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollouts", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"reft-megatron: DataError: {tmp_path} holds no iteration of rollouts. ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--reason timeut", "argument --reason: unknown reason timeut; the nearest known one is "
         "timeout"),
        ("--iteration 7-3", "argument --iteration: wanted 3 or 3-7, saw '7-3'"),
        ("--iteration x", "argument --iteration: wanted 3 or 3-7, saw 'x'"),
        ("--limit 0", "argument --limit: wanted 1 or more, saw '0'"),
        ("--show --export x.jsonl", "argument --export: not allowed with argument --show"),
        ("--tokens --biography a_1", "--tokens goes with --show, not with --biography or --export"),
        ("--tokenizer x", "--tokenizer goes with --show or --tokens"),
        ("--force", "--force goes with --export"),
        ("--biography a_1 --problem a_2", "--biography and --problem name two problems"),
    ],
)  # fmt: skip
def test_bad_options(
    run: Path, arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["rollouts", str(run), *arguments.split()])
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert (told.out, told.err.splitlines()[-1]) == (
        "",
        f"reft-megatron rollouts: error: {message}",
    )
