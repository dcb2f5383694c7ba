"""Tests of where things lie, and of the commands that make them."""

from __future__ import annotations

import sys
from pathlib import Path

from reft_megatron.cli import main
from reft_megatron.commands.reproduce.pipeline import flat, path_settings
from reft_megatron.commands.reproduce.pipeline_file import read_pipeline
from reft_megatron.config import Config, describe, load_config
from tests.commands.reproduce.pipelines import write_pipeline


def test_the_command_of_a_recipe_says_all_of_its_settings(tmp_path: Path) -> None:
    pipeline = read_pipeline(
        write_pipeline(tmp_path, ("test_size: 8", "test_size: 8}\n  optimizer: {lr: 1.0e-7"))
    )
    stage = pipeline.stages["reft"]
    words = pipeline.words(stage, 2)
    start = words.index("reft_megatron")
    assert words[: start + 2] == [
        *("env", "CUDA_VISIBLE_DEVICES=", "OMP_NUM_THREADS=1", "PYTHONWARNINGS=ignore"),
        *(str(Path(sys.executable).parent / "torchrun"), "--standalone", "--nproc-per-node", "2"),
        *("-m", "reft_megatron", "ppo"),
    ]
    config = load_config(None, words[start + 2 :])
    assert config == pipeline.config(stage, 2)
    assert config.run.seed == config.task.data_seed == 2
    assert config.model.load == f"{tmp_path}/runs/seed-2/warmup/checkpoints/latest"
    assert config.tokenizer.path == f"{tmp_path}/runs/seed-2/tokens/tokens.model"
    assert f"{config.run.dir}/{config.run.name}" == str(pipeline.folder_of("reft", 2))
    assert main(["ppo", *words[start + 2 :], "--print-config"]) == 0


def test_the_command_of_a_command_has_its_placeholders_filled(tmp_path: Path) -> None:
    command = ("command: cp", "inputs: {from: warmup:latest}\n    command: cp -r {from} {seed}")
    none = ("inputs:\n  tokenizer.path: tokens:tokens.model\n", "")
    pipeline = read_pipeline(write_pipeline(tmp_path, none, command))
    words = pipeline.words(pipeline.stages["tokens"], 1)
    runs = f"{tmp_path}/runs/seed-1"
    assert words[4:] == [
        *("cp", "-r", f"{runs}/warmup/checkpoints/latest", "1"),
        *(f"{tmp_path}/source.model", f"{runs}/tokens/tokens.model"),
    ]


def test_gpus_are_hidden_only_where_the_file_says_so(tmp_path: Path) -> None:
    pipeline = read_pipeline(write_pipeline(tmp_path, ("cpu: true\n", "")))
    assert "CUDA_VISIBLE_DEVICES=" not in pipeline.words(pipeline.stages["sft"], 1)


def test_what_stands_before_a_stage_and_what_follows_it(tmp_path: Path) -> None:
    pipeline = read_pipeline(write_pipeline(tmp_path))
    assert pipeline.sources("reft-test") == ["tokens", "warmup", "reft", "reft-test"]
    assert pipeline.followers(["warmup"]) == ["warmup", "reft", "reft-test"]
    assert pipeline.followers(["sft-test"]) == ["sft-test"]
    assert pipeline.followers([]) == []


def test_every_setting_that_names_a_file_is_known_as_one() -> None:
    found = set(path_settings())
    assert {"model.hf", "model.load", "tokenizer.path", "task.train", "rerank.ledger"} <= found
    assert not found & {"run.name", "run.dir", "model.preset", "task.name", "log.wandb_project"}
    assert all(flat(Config())[key] == "" for key in found)
    meanings = {key: meaning.lower() for key, _, meaning in describe()}
    kinds = ("file", "folder", "ledger", "checkpoint")
    assert [key for key in found if not any(kind in meanings[key] for kind in kinds)] == []
