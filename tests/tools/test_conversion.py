"""What both commands of conversion say and return; their work is test_random_checkpoint's."""

from __future__ import annotations

from pathlib import Path

import pytest

from reft_megatron.errors import CheckpointError
from reft_megatron.mesh import Axis
from reft_megatron.policy.families import find_architecture
from reft_megatron.policy.huggingface import Converted
from tools.conversion import make_parser, run

DONE = Converted(
    architecture=find_architecture("galactica-125m"), head="value", tensors=7, nbytes=1_234_000_000
)
PARSER = make_parser("Do it.", epilog="example", source="what is there", result="the folder")
OPTIONS = PARSER.parse_args(["--input", "a", "--output", "b"])


def test_what_was_made_is_told(capsys: pytest.CaptureFixture[str]):
    assert (OPTIONS.input, OPTIONS.output, OPTIONS.timeout) == (Path("a"), Path("b"), 3600)
    assert run("it", OPTIONS, lambda world: DONE, advice=". Go on") == 0
    assert capsys.readouterr().out == (
        "b: galactica-125m, 7 tensors, 1.234 GB, head: value. Go on\n"
    )


def test_bad_input_is_a_message(capsys: pytest.CaptureFixture[str]):
    def refuse(world: Axis) -> Converted:
        raise CheckpointError("no such folder")

    assert run("it", OPTIONS, refuse) == 1
    assert capsys.readouterr().err == "it: no such folder\n"


def test_both_folders_must_be_named(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        PARSER.parse_args(["--input", "a"])
    assert "--output" in capsys.readouterr().err
