"""Tests of the figures of finished evaluations, against outcomes that can be counted by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reft_megatron.commands.reproduce.figures import gather
from reft_megatron.errors import DataError
from tests.commands.reproduce.pipelines import evaluated, finished


def test_the_results_of_two_seeds(tmp_path: Path) -> None:
    pipeline = finished(tmp_path)
    results = gather(pipeline)
    assert (results.seeds, results.num_problems, results.split) == ((1, 2), 4, "test")
    assert [(m.name, m.seed) for m in results.methods] == [
        *(("SFT", 1), ("ReFT", 1)),
        *(("SFT", 2), ("ReFT", 2)),
    ]
    sft, reft = results.of(1)
    assert sft.figures["top-1"].value == 0.25
    assert sft.differences == sft.gains == {}
    assert set(reft.differences) == {"top-1"}
    assert reft.differences["top-1"].value == 0.25
    assert {name: gain.value for name, gain in reft.gains.items()} == {
        "vote@2 - top-1": 0.25,
        "rerank@2 - vote@2": 0.25,
    }
    runs = tmp_path / "runs" / "seed-1"
    assert (sft.runs, reft.runs) == ((runs / "sft",), (runs / "warmup", runs / "reft"))
    assert reft.evaluation == runs / "reft-test"
    assert (reft.ledger, reft.reranker, reft.seconds) == (None, None, 10.0)
    assert reft.paper["rerank@100"].share == 0.766
    assert results.stage_seconds["reft"] == 20.0


def test_where_samples_and_rerankers_lie(tmp_path: Path) -> None:
    pipeline = finished(tmp_path)
    inputs = pipeline.stages["reft-test"].inputs
    source = type(inputs["model.load"])
    inputs |= {
        "evaluate.ledger": source(stage="reft", what="ledger"),
        "evaluate.reranker": source(stage="sft", what="best"),
    }
    path = pipeline.folder_of("reft-test", 1) / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"reranker": {"auc": 0.8}}))
    sft, reft = gather(pipeline).of(1)
    assert (sft.auc, reft.auc) == (None, 0.8)
    assert reft.ledger == pipeline.folder_of("reft", 1) / "ledger"
    assert reft.reranker == pipeline.folder_of("sft", 1)


def test_an_evaluation_that_is_missing_is_named(tmp_path: Path) -> None:
    pipeline = finished(tmp_path)
    path = pipeline.folder_of("reft-test", 2) / "summary.json"
    path.unlink()
    with pytest.raises(DataError, match=f"^{path} is not there or not whole: run the pipeline"):
        gather(pipeline)


def test_methods_on_different_problems_are_refused(tmp_path: Path) -> None:
    pipeline = finished(tmp_path)
    folder = pipeline.folder_of("reft-test", 2)
    evaluated(folder, {"top-1": [1.0] * 5})
    with pytest.raises(DataError, match="1 problems have an outcome of one method only, p4"):
        gather(pipeline)
    evaluated(pipeline.folder_of("sft-test", 2), {"top-1": [1.0] * 5})
    with pytest.raises(DataError, match=r"different problems, \[\('test', 4\), \('test', 5\)\]"):
        gather(pipeline)
