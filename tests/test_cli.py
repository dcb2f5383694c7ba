"""The command line: help, settings, and errors as people meet them."""

from __future__ import annotations

from pathlib import Path

import pytest

from reft_megatron import __version__
from reft_megatron.cli import COMMANDS, RECIPES, main
from reft_megatron.config import describe, load_config


def test_help_lists_every_recipe_and_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    lines = told.splitlines()
    for name, meaning in RECIPES.items():
        assert f"  {name:<10} {meaning}" in lines
    for name, meaning in COMMANDS.items():
        assert f"  {name:<12} {meaning}" in lines
    for key, default, meaning in describe():
        where = lines.index(f"  {key}={default}")
        assert lines[where + 1] == f"      {meaning}"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"{__version__}\n"


def test_the_printed_config_reads_back(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    overrides = ["ppo.batch_size=7", "run.name=x y", "optimizer.lr=3e-4"]
    assert main(["ppo", *overrides, "--print-config"]) == 0
    first = capsys.readouterr().out
    path = tmp_path / "config.yaml"
    path.write_text(first)
    assert load_config(path) == load_config(None, overrides)
    assert main(["ppo", "--config", str(path), "--print-config"]) == 0
    assert capsys.readouterr().out == first


def test_a_setting_beats_the_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("ppo: {batch_size: 3, iterations: 4}\n")
    assert main(["ppo", "--config", str(path), "ppo.batch_size=5", "--print-config"]) == 0
    told = capsys.readouterr().out
    assert "batch_size: 5\n" in told
    assert "iterations: 4\n" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["ppo.iteration=3"],
            "unknown setting ppo.iteration; the nearest known one is ppo.iterations. `--help` "
            "lists them all.",
        ),
        (["--config", "/nowhere.yaml"], "cannot read the config file /nowhere.yaml: No such file "
         "or directory."),
        (["iterations=3"], "an override reads section.key=value, saw 'iterations=3'."),
    ],
)  # fmt: skip
def test_bad_settings(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["ppo", *arguments]) == 1
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", f"reft-megatron: ConfigError: {message}\n")


def test_an_unknown_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["pppo"])
    assert ended.value.code == 2
    assert "argument RECIPE: invalid choice: 'pppo' (choose from " in capsys.readouterr().err


def test_an_error_of_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "task.name=gsm8k"]) == 1
    assert capsys.readouterr().err.startswith("reft-megatron: ConfigError: pretrain makes a base ")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_help_of_its_own(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: reft-megatron {command} ")


def test_an_error_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run-programs", "/nowhere.jsonl"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("reft-megatron: DataError: /nowhere.jsonl: No such file ")
