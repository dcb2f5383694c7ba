"""Tests of reading the samples of an evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reft_megatron.commands.reproduce.report.samples import Sample, read_samples, read_texts
from reft_megatron.errors import DataError
from reft_megatron.recipes.ballots import write_ballots
from reft_megatron.types import Reason
from tests.recipes.test_ballots import fill, make_rollout, poll_of


def test_samples_are_in_order_by_problem(tmp_path: Path):
    """As an evaluation leaves them; one answered with a letter."""
    answers = (("b", 1, None), ("a", 0, 1.0), ("b", 0, "c"))
    ledger = fill(tmp_path / "ledger", [make_rollout(*answer) for answer in answers])
    scores = np.array([0.5, 1.5, -1.0], np.float32)
    write_ballots(tmp_path / "ballots.parquet", poll_of(ledger, ("b", "a"), 2), scores)
    found = read_samples(tmp_path)
    assert found["a"] == [Sample(number=0, reason=Reason.CORRECT, value=1.0, right=True, score=1.5)]
    assert [(s.number, s.reason, s.value, s.score) for s in found["b"]] == [
        (0, Reason.WRONG_VALUE, "c", -1.0),
        (1, Reason.NO_SOLUTION, None, 0.5),
    ]
    assert read_texts(tmp_path, {"b"}) == {("b", 1): "b/1", ("b", 0): "b/0"}
    assert read_texts(tmp_path, set()) == {}


def test_an_evaluation_without_samples_has_none(tmp_path: Path):
    assert (read_samples(tmp_path), read_texts(tmp_path, {"a"})) == ({}, {})


def test_a_file_that_is_no_table_is_named(tmp_path: Path):
    (tmp_path / "ballots.parquet").write_text("oops")
    with pytest.raises(
        DataError, match=r"ballots\.parquet is no table of samples with the columns"
    ):
        read_samples(tmp_path)
