"""Tests of reading what an evaluation left of each problem."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reft_megatron.commands.outcomes import read_outcomes
from reft_megatron.errors import DataError


def test_outcomes_are_by_figure_and_problem(tmp_path: Path) -> None:
    content = {"problems": ["b", "a"], "top-1": [1, 0], "pass@2": [0.5, 0.25]}
    (tmp_path / "outcomes.json").write_text(json.dumps(content))
    found = read_outcomes(tmp_path)
    assert found == {"top-1": {"b": 1, "a": 0}, "pass@2": {"b": 0.5, "a": 0.25}}
    assert list(found["top-1"]) == ["b", "a"]


NO_LIST = "vote@4 is not a list of 2 numbers from 0 to 1, one of each problem. Evaluate anew."
NO_PROBLEMS = "names no problems: it is not what evaluate writes. Evaluate anew."


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"problems": ["a", "b"], "vote@4": [0]}, f": {NO_LIST}"),
        ({"problems": ["a", "b"], "vote@4": [True, False]}, f": {NO_LIST}"),
        ({"problems": ["a", "b"], "vote@4": [0, float("nan")]}, f": {NO_LIST}"),
        ({"problems": ["a", "b"], "vote@4": 1}, f": {NO_LIST}"),
        ({"problems": ["a", "a"], "vote@4": [0, 1]}, " names a problem twice. Evaluate anew."),
        ({"problems": [], "vote@4": []}, f" {NO_PROBLEMS}"),
        (["vote@4"], f" {NO_PROBLEMS}"),
    ],
)
def test_what_evaluate_does_not_write_is_refused(tmp_path: Path, content: Any, told: str) -> None:
    path = tmp_path / "outcomes.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError) as error:
        read_outcomes(tmp_path)
    assert str(error.value) == f"{path}{told}"


def test_half_a_file_and_none(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.json"
    path.write_text('{"problems": ["a", "b"], "vote@')
    with pytest.raises(DataError, match="names no problems: it is not what evaluate writes"):
        read_outcomes(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=f"^cannot read {path}: No such file or directory. Name "):
        read_outcomes(tmp_path)
