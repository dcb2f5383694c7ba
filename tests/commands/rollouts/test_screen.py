"""How things look on a terminal and in a pipe."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from reft_megatron.commands.rollouts.screen import console, plain, style, table
from reft_megatron.types import Reason


def test_a_pipe_has_100_columns_and_no_colours(capsys: pytest.CaptureFixture[str]) -> None:
    console().rule("[bold]:smile:[/bold] 3", style="red")
    told = capsys.readouterr().out
    assert len(told) == 101
    assert "[bold]:smile:[/bold] 3" in told
    assert "\x1b" not in told


def test_what_a_model_wrote_does_not_reach_the_terminal_as_commands() -> None:
    text = "\x1b[31mred\x07\r\n\tx = '[bold]'  # \u03c0 \x9b2J"
    file = io.StringIO()
    Console(file=file, force_terminal=True).print(plain(text), soft_wrap=True)
    assert file.getvalue() == ("\\x1b[31mred\\x07\\r\n        x = '[bold]'  # \u03c0 \\x9b2J\n")


def test_verdicts_have_colours() -> None:
    assert {style(reason) for reason in Reason} == {"green", "yellow", "red"}
    assert (style("correct"), style("wrong_value")) == ("green", "yellow")


def test_columns_stand_close() -> None:
    made = table()
    for heading in ("a", "b"):
        made.add_column(heading)
    made.add_row("1", "2")
    file = io.StringIO()
    Console(file=file, width=100).print(made)
    assert " 1  2 " in file.getvalue().splitlines()
