"""Tests of the notation of a pipeline, and of what is said of mistakes in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from reft_megatron.commands.reproduce.pipeline_file import LEAVES, read_pipeline
from reft_megatron.config.recipes import RECIPES
from reft_megatron.errors import ConfigError
from tests.commands.reproduce.pipelines import ORDER, write_pipeline


def test_a_pipeline_is_read_in_the_order_of_what_starts_from_what(tmp_path: Path) -> None:
    pipeline = read_pipeline(write_pipeline(tmp_path))
    assert list(pipeline.stages) == ORDER
    sft = pipeline.stages["sft"]
    assert (sft.recipe, sft.settings["sft.epochs"], sft.settings["sft.stop_after_epoch"]) == (
        "sft",
        3,
        0,
    )
    assert sft.settings["task.test_size"] == 8
    test = pipeline.stages["reft-test"]
    assert {key: str(source) for key, source in test.inputs.items()} == {
        "tokenizer.path": "tokens:tokens.model",
        "model.load": "reft:best",
    }
    assert [(row.name, row.role) for row in pipeline.rows] == [
        ("SFT", "baseline"),
        ("ReFT", "ours"),
    ]
    assert (pipeline.title, pipeline.results) == ("small", tmp_path / "runs")


def test_the_command_line_replaces_what_the_file_says(tmp_path: Path) -> None:
    path = write_pipeline(tmp_path)
    pipeline = read_pipeline(
        path, overrides=["sft.epochs=5"], seeds=[2], folder="x", launch="srun", processes=None
    )
    assert (pipeline.seeds, pipeline.launch, pipeline.processes) == ((2,), "srun", 2)
    assert pipeline.results == Path("x/seed-2")
    assert pipeline.config(pipeline.stages["sft"], 2).sft.epochs == 5


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("processes: 2", "proceses: 2", "unknown key proceses; the nearest known one is "
         "processes."),
        ("like: warmup", "lik: warmup", "unknown key stages.sft.lik; the nearest known one is "
         "stages.sft.like."),
        ("  reft:", "  re_ft:", "{path}: a stage's name has letters, digits, `-` and `.`: 're_ft'"),
        ("role: ours", "roll: ours", "unknown key table.ReFT.roll; the nearest known one is "
         "table.ReFT.role."),
        ("recipe: ppo", "recipe: pppo", "stage reft: unknown recipe pppo; the nearest known one "
         "is ppo."),
        ("sft:best", "stf:best", "stage sft-test starts from stf:best, and there is no stage stf; "
         "the nearest known one is sft."),
        ("sft:best", "sft", "stage sft-test: an input reads STAGE:latest, STAGE:best, STAGE:ledger "
         "or, of a command, STAGE:FILE; saw 'sft'."),
        ("sft:best", "reft-test:best", "stage sft-test starts from reft-test:best, and evaluate "
         "leaves ledger."),
        ("sft:best", "sft:ledger", "stage sft-test starts from sft:ledger, and sft leaves latest "
         "and best."),
        ("model.load: reft:best", "evaluate.ledger: sft-test:ledger", "stage reft-test starts from "
         "sft-test:ledger, and that evaluation draws no samples of its own: set its "
         "evaluate.samples, without a ledger."),
        ("tokens:tokens.model", "tokens:../x", "stage warmup: tokens:../x is no file in the "
         "folder of tokens."),
        ("like: sft-test", "like: stf", "stage reft-test is like stf, which is no stage; the "
         "nearest known one is sft."),
        ("recipe: sft", "like: sft", "stages are like one another in a circle: warmup -> sft -> "
         "warmup."),
        ("    recipe: sft", "    recipe: sft\n    inputs: {model.load: reft:latest}",
         "stages start from one another in a circle: warmup -> reft -> warmup."),
        ("recipe: ppo", "recipe: ppo\n    command: ls", "stage reft wants a `recipe` or a "
         "`command`, one of them."),
        ("epochs: 3", "epoch: 3", "stage warmup: unknown setting sft.epoch; the nearest known one "
         "is sft.epochs. `--help` lists them all."),
        ("epochs: 3", "epochs: -3", "stage warmup: bad setting: sft.epochs: Input should be "
         "greater than or equal to 1 (seen: -3)"),
        ("model.load: warmup", "model.lod: warmup", "stage reft: the input model.lod is no setting "
         "that names a file; the nearest known one is model.load."),
        ("test_size: 8", "data_seed: 8", "stage warmup: task.data_seed is the pipeline's own to "
         "set; leave it out."),
        ("stage: reft-test", "stage: reft", "table.ReFT: reft is no stage that evaluates; the "
         "nearest known one is reft-test."),
        ("6.7b/ReFT", "6.7b/ReFTT", "table.ReFT: the paper has no figures "
         "v1/gsm8k-program/galactica-6.7b/ReFTT; the nearest known one is "
         "v1/gsm8k-program/galactica-6.7b/ReFT."),
        ("role: ours", "role: baseline", "table: one row at most has the role baseline, saw "
         "['SFT', 'ReFT']."),
        ("command: cp", "command: cp don't", "the command of stage tokens cannot be taken apart "
         "(No closing quotation): \"cp don't "),
        ("cpu: true", "launch: \"torchrun '\"", "`launch` cannot be taken apart (No closing "),
        ("cpu: true", "launch: ' '", "`launch` is empty."),
        ("  task: {test_size: 8}", "  parallel: {tensor: 3}", "stage warmup is laid out over "
         "tensor 3 x pipeline 1, and 2 processes are no multiple of it."),
    ],
)  # fmt: skip
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = write_pipeline(tmp_path, (old, new))
    with pytest.raises(ConfigError) as error:
        read_pipeline(path)
    assert str(error.value).startswith(told.replace("{path}", str(path)))


def test_a_stage_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`sft` stands twice"):
        read_pipeline(write_pipeline(tmp_path, ("  reft:", "  sft:")))


def test_a_value_of_the_wrong_kind_is_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"bad pipeline .*: seeds: .*list.*\(seen: 3\)"):
        read_pipeline(write_pipeline(tmp_path, ("[1, 2]", "3")))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("run.seed=3", "run.seed is the pipeline's own to set: `--folder`, `--seed`."),
        ("model.load=x", "model.load is what stage reft starts from, warmup:latest: name another "
         "in the file's `inputs`."),
        ("tokenizer.path=", "tokenizer.path is what stage warmup starts from, tokens:tokens.model: "
         "name another in the file's `inputs`."),
    ],
)  # fmt: skip
def test_an_override_of_what_the_pipeline_sets_is_refused(
    tmp_path: Path, override: str, told: str
) -> None:
    with pytest.raises(ConfigError) as error:
        read_pipeline(write_pipeline(tmp_path), overrides=[override])
    assert str(error.value) == told


def test_the_command_line_is_held_to_the_same_ranges(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^bad command line: processes: .* \(seen: 0\)$"):
        read_pipeline(write_pipeline(tmp_path), processes=0)


def test_an_evaluation_that_draws_leaves_its_ledger(tmp_path: Path) -> None:
    draws = ("  sft-test:\n", "  sft-test:\n    settings: {evaluate: {samples: 4}}\n")
    counts = ("like: sft-test", "like: sft-test\n    settings: {evaluate: {samples: 0}}")
    from_it = ("load: reft:best", "load: sft:best, evaluate.ledger: sft-test:ledger")
    pipeline = read_pipeline(write_pipeline(tmp_path, draws, counts, from_it))
    ledger = pipeline.path_of(pipeline.stages["reft-test"].inputs["evaluate.ledger"], 1)
    assert ledger == tmp_path / "runs" / "seed-1" / "sft-test" / "ledger"


def test_it_is_known_what_every_recipe_leaves() -> None:
    assert set(LEAVES) == set(RECIPES)


def test_no_file_and_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the pipeline .*none.yaml: No such file"):
        read_pipeline(tmp_path / "none.yaml")
    path = tmp_path / "bad.yaml"
    path.write_text("stages: [")
    with pytest.raises(ConfigError, match="is not valid YAML"):
        read_pipeline(path)
    path.write_text("stages: [sft]")
    with pytest.raises(ConfigError, match=r"stages: Input should be a valid dict.*\['sft'\]"):
        read_pipeline(path)
    path.write_text("[1]")
    with pytest.raises(ConfigError, match=r"must hold `key:` blocks, saw \[1\]"):
        read_pipeline(path)
