"""Tests of what a pipeline found."""

from __future__ import annotations

from pathlib import Path

from reft_megatron.commands.reproduce.results import Method, Results, Role


def method(name: str, seed: int, role: Role = "rival") -> Method:
    return Method(
        name=name,
        role=role,
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


def results_of(*methods: Method) -> Results:
    return Results(
        name="x",
        title="X",
        folder=Path("runs"),
        split="test",
        num_problems=3,
        seeds=(2, 1),
        methods=methods,
        stage_seconds={},
    )


def test_methods_of_a_seed_in_order() -> None:
    results = results_of(*(method(name, seed) for seed in (2, 1) for name in ("SFT", "ReFT")))
    assert [(m.name, m.seed) for m in results.of(1)] == [("SFT", 1), ("ReFT", 1)]
    assert results.of(3) == ()
    names = [[(m.name, m.seed) for m in same] for same in results.by_name()]
    assert names == [[("SFT", 2), ("SFT", 1)], [("ReFT", 2), ("ReFT", 1)]]
    assert [[m.seed for m in same] for same in results.by_name([1])] == [[1], [1]]


def test_who_has_a_role() -> None:
    results = results_of(
        *(method("Online-ST", 2), method("SFT", 2, "baseline"), method("Offline-ST", 2)),
        *(method("Online-ST", 1), method("SFT", 1, "baseline"), method("Offline-ST", 1)),
    )
    named = [[(m.name, m.seed) for m in results.first(role)] for role in ("rival", "ours")]
    assert named == [[("Online-ST", 2), ("Online-ST", 1)], []]
    assert results.baseline == "SFT"
    assert results_of(method("ReFT", 1, "ours")).baseline == ""
