"""A small pipeline, and the folders that its stages would leave."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import numpy as np

from reft_megatron.commands.reproduce.identity import Record, write_record
from reft_megatron.commands.reproduce.pipeline import Pipeline
from reft_megatron.commands.reproduce.pipeline_file import read_pipeline
from reft_megatron.commands.reproduce.plan import plan
from reft_megatron.rewards.statistics import bootstrap

TEXT = """
name: small
folder: {folder}
seeds: [1, 2]
processes: 2
cpu: true
settings:
  task: {{test_size: 8}}
inputs:
  tokenizer.path: tokens:tokens.model
stages:
  warmup:
    recipe: sft
    settings: {{sft: {{epochs: 3, stop_after_epoch: 1}}}}
  tokens:
    command: cp {source} {{folder}}/tokens.model
  sft:
    like: warmup
    settings: {{sft: {{stop_after_epoch: 0}}}}
  reft:
    recipe: ppo
    inputs: {{model.load: warmup:latest}}
  sft-test:
    recipe: evaluate
    inputs: {{model.load: sft:best}}
  reft-test:
    like: sft-test
    inputs: {{model.load: reft:best}}
table:
  SFT: {{stage: sft-test, role: baseline, paper: v1/gsm8k-program/galactica-6.7b/SFT}}
  ReFT: {{stage: reft-test, role: ours, paper: v1/gsm8k-program/galactica-6.7b/ReFT}}
"""
ORDER = ["tokens", "warmup", "sft", "reft", "sft-test", "reft-test"]


def write_pipeline(folder: Path, *changes: tuple[str, str]) -> Path:
    """The pipeline's file, with each text replaced by another."""
    folder.mkdir(exist_ok=True)
    source = folder / "source.model"
    source.write_text("pieces")
    text = TEXT.format(folder=folder / "runs", source=source)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "small.yaml"
    path.write_text(text)
    return path


def finish(pipeline: Pipeline, seed: int = 1, *, names: Collection[str] | None = None) -> None:
    """Leave what stages, or all, leave when they have finished."""
    for step in plan(pipeline, seed):
        if names is None or step.stage.name in names:
            step.folder.mkdir(parents=True, exist_ok=True)
            write_record(step.folder, Record(identity=step.identity, seconds=10.0))
            (step.folder / "summary.json").write_text("{}\n")
            for link in ("latest", "best"):
                (step.folder / "checkpoints" / link).mkdir(parents=True, exist_ok=True)
            (step.folder / "tokens.model").write_text("pieces")


def evaluated(folder: Path, outcomes: dict[str, list[float]]) -> None:
    """Leave what an evaluation leaves, with these outcomes of p0, p1, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    count = len(outcomes["top-1"])
    found = bootstrap({name: np.array(values) for name, values in outcomes.items()})
    figures = {n: {"value": e.value, "low": e.low, "high": e.high} for n, e in found.items()}
    summary = {"split": "test", "num_problems": count, "figures": figures}
    (folder / "summary.json").write_text(json.dumps(summary))
    problems = {"problems": [f"p{number}" for number in range(count)]}
    (folder / "outcomes.json").write_text(json.dumps(problems | outcomes))


def finished(folder: Path, *changes: tuple[str, str]) -> Pipeline:
    """A pipeline of which everything is finished; ReFT is right where SFT is, and at p1."""
    pipeline = read_pipeline(write_pipeline(folder, *changes))
    for seed in pipeline.seeds:
        finish(pipeline, seed)
        sft = [1.0, 0.0, float(seed == 2), 0.0]
        evaluated(pipeline.folder_of("sft-test", seed), {"top-1": sft})
        reft = {"top-1": [1.0, 1.0, *sft[2:]], "vote@2": [1.0, 1.0, 1.0, 0.0]}
        reft |= {"vote@1": [1.0, 0.0, 0.0, 0.0], "rerank@2": [1.0] * 4, "pass@2": [0.5] * 4}
        evaluated(pipeline.folder_of("reft-test", seed), reft)
    return pipeline
