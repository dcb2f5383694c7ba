"""What a run may go on with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from reft_megatron.config import load_config, to_yaml
from reft_megatron.recipes.continuation import (
    changed_settings,
    changed_since,
    settings_digest,
)


def test_what_a_run_may_change_on_its_way() -> None:
    saved = dataclasses.asdict(load_config(None))
    free = ["run.threads=3", "log.table_every=9", "ppo.iterations=5000", "rewards.workers=9"]
    free += ["parallel.tensor=2", "parallel.distributed_optimizer=false"]
    free += ["rewards.threads=3", "rewards.isolation=process", "model.recompute=full"]
    free += ["rewards.audit=built", "rewards.max_false_positive_rate=0.5"]
    assert changed_settings(saved, dataclasses.asdict(load_config(None, free))) == []
    fixed = ["optimizer.lr=0.5", "run.seed=3", "generate.temperature=0.7", *free]
    assert changed_settings(saved, dataclasses.asdict(load_config(None, fixed))) == [
        "run.seed: 0 -> 3",
        "optimizer.lr: 1e-05 -> 0.5",
        "generate.temperature: 1.0 -> 0.7",
    ]
    del saved["optimizer"]["lr"], saved["generate"]
    changed = changed_settings(saved, dataclasses.asdict(load_config(None, fixed)))
    assert changed == ["run.seed: 0 -> 3"], "an older run lacks newer settings"


def test_an_evaluation_is_of_its_split_and_samples() -> None:
    """To other recipes they are nothing; who looks at the samples may change."""
    saved = dataclasses.asdict(load_config(None))
    other = ["evaluate.split=dev", "evaluate.samples=3", "evaluate.reranker=x"]
    asked = dataclasses.asdict(load_config(None, other))
    assert changed_settings(saved, asked) == []
    assert changed_settings(saved, asked, recipe="evaluate") == [
        "evaluate.split: 'test' -> 'dev'",
        "evaluate.samples: 0 -> 3",
    ]


def test_what_changed_since_the_last_start(tmp_path: Path) -> None:
    config = load_config(None, ["run.seed=3"])
    assert changed_since(tmp_path, config) is None
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    assert changed_since(tmp_path, config) == []
    assert changed_since(tmp_path, load_config(None)) == ["run.seed: 3 -> 0"]
    path.write_text("ppo: {of_another_version: 3}\n")
    assert changed_since(tmp_path, config) is None


def test_a_digest_is_of_the_recipe_and_of_what_a_run_must_keep() -> None:
    def digest(*overrides: str, recipe: str = "ppo") -> str:
        return settings_digest(load_config(None, overrides), recipe)

    assert digest() == digest("run.name=other", "parallel.tensor=2", "ppo.iterations=5")
    assert digest() == digest("optimizer.lr=0.00001"), "the default, spelt out"
    others = [digest("run.seed=3"), digest("optimizer.lr=0.5"), digest(recipe="sample")]
    assert len({digest(), *others}) == 4
