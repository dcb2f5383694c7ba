"""Tests of what a pipeline found."""

from __future__ import annotations

from pathlib import Path

from reft_megatron.commands.reproduce.results import Method, Results


def method(name: str, seed: int) -> Method:
    return Method(
        name=name,
        role="rival",
        meaning="",
        seed=seed,
        runs=(),
        evaluation=Path("runs/x"),
        ledger=None,
        reranker=None,
        auc=None,
        seconds=1.0,
        figures={},
        differences={},
        paper={},
    )


def test_methods_of_a_seed_in_order() -> None:
    results = Results(
        name="x",
        title="X",
        folder=Path("runs"),
        split="test",
        num_problems=3,
        seeds=(2, 1),
        methods=tuple(method(name, seed) for seed in (2, 1) for name in ("SFT", "ReFT")),
        stage_seconds={},
    )
    assert [(m.name, m.seed) for m in results.of(1)] == [("SFT", 1), ("ReFT", 1)]
    assert results.of(3) == ()
    names = [[(m.name, m.seed) for m in same] for same in results.by_name()]
    assert names == [[("SFT", 2), ("SFT", 1)], [("ReFT", 2), ("ReFT", 1)]]
    assert [[m.seed for m in same] for same in results.by_name([1])] == [[1], [1]]
