"""Tests of what there is to do, by the folders that are there."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from reft_megatron.commands.reproduce.pipeline_file import read_pipeline
from reft_megatron.commands.reproduce.plan import Step, check_inputs, plan
from reft_megatron.config.settings_file import write_settings
from reft_megatron.errors import ConfigError, DataError
from tests.commands.reproduce.pipelines import ORDER, finish, write_pipeline


def states(steps: list[Step]) -> dict[str, str]:
    return {step.stage.name: step.state for step in steps}


def test_a_new_folder_is_begun_and_a_finished_one_done(tmp_path: Path) -> None:
    pipeline = read_pipeline(write_pipeline(tmp_path))
    assert states(plan(pipeline, 1)) == dict.fromkeys(ORDER, "begin")
    finish(pipeline)
    assert states(plan(pipeline, 1)) == dict.fromkeys(ORDER, "done")
    assert states(plan(pipeline, 2)) == dict.fromkeys(ORDER, "begin")
    (pipeline.folder_of("reft", 1) / "summary.json").unlink()
    shutil.rmtree(pipeline.folder_of("sft", 1))
    others = {"reft": "go on", "sft": "begin"}
    assert states(plan(pipeline, 1)) == dict.fromkeys(ORDER, "done") | others
    steps = plan(pipeline, 1, removed=["warmup"])
    assert states(steps)["warmup"] == "begin"
    assert [step.seconds for step in steps] == [10, 0, 0, 10, 10, 10]


def test_another_setting_is_told_of_every_stage_that_has_it(tmp_path: Path) -> None:
    finish(read_pipeline(write_pipeline(tmp_path)))
    changed = read_pipeline(write_pipeline(tmp_path, ("epochs: 3", "epochs: 4")))
    with pytest.raises(ConfigError) as error:
        plan(changed, 1)
    runs = tmp_path / "runs" / "seed-1"
    assert str(error.value) == (
        f"{runs}/warmup was made otherwise: sft.epochs: 3 -> 4. {runs}/sft was made otherwise: "
        "sft.epochs: 3 -> 4. Take back what changed, choose another --folder, or remove these "
        "stages and what starts from them, to make them again: --redo warmup --redo sft"
    )
    plan(changed, 1, names=["tokens"])
    again = plan(changed, 1, removed=changed.followers(["warmup", "sft"]))
    assert states(again) == dict.fromkeys(ORDER, "begin") | {"tokens": "done"}


def test_a_stage_made_from_another_input_is_not_believed(tmp_path: Path) -> None:
    finish(read_pipeline(write_pipeline(tmp_path)))
    changed = read_pipeline(write_pipeline(tmp_path, ("epochs: 3", "epochs: 4")))
    for name in ("warmup", "sft"):
        shutil.rmtree(changed.folder_of(name, 1))
    with pytest.raises(ConfigError, match=r"reft was made otherwise: model.load: warmup:latest has "
                       r"changed\. .*--redo reft --redo sft-test$"):  # fmt: skip
        plan(changed, 1)


def test_a_stage_made_again_alike_leaves_what_follows_done(tmp_path: Path) -> None:
    pipeline = read_pipeline(write_pipeline(tmp_path))
    finish(pipeline)
    shutil.rmtree(pipeline.folder_of("warmup", 1))
    assert states(plan(pipeline, 1)) == dict.fromkeys(ORDER, "done") | {"warmup": "begin"}


def by_hand(
    tmp_path: Path, *, load: str = "warmup", recipe: str = "ppo", reference: str = ""
) -> Path:
    """The folder of `reft`, made with the command of a dry run."""
    pipeline = read_pipeline(write_pipeline(tmp_path))
    finish(pipeline, names=("tokens", "warmup", "sft"))
    folder = pipeline.folder_of("reft", 1)
    folder.mkdir()
    step = pipeline.folder_of(load, 1) / "checkpoints" / "step_1"
    step.mkdir()
    link = step.parent / "latest"
    link.rmdir()
    link.symlink_to("step_1")
    settings = pipeline.config(pipeline.stages["reft"], 1)
    assert settings.model.load == f"{pipeline.folder_of('warmup', 1)}/checkpoints/latest"
    model = dataclasses.replace(settings.model, load=str(step), reference=reference)
    write_settings(folder, dataclasses.replace(settings, model=model), recipe)
    (folder / "summary.json").write_text("{}")
    return folder


def test_a_run_by_hand_is_taken_as_the_stage(tmp_path: Path) -> None:
    folder = by_hand(tmp_path)
    pipeline = read_pipeline(write_pipeline(tmp_path))
    assert states(plan(pipeline, 1))["reft"] == "done"
    (folder / "summary.json").unlink()
    assert states(plan(pipeline, 1))["reft"] == "go on"


def test_a_run_by_hand_of_other_settings_or_time_is_not(tmp_path: Path) -> None:
    folder = by_hand(tmp_path)
    pipeline = read_pipeline(write_pipeline(tmp_path), overrides=["ppo.lam=0.5"])
    with pytest.raises(ConfigError, match=r"reft was made otherwise: ppo.lam: 0.95 -> 0.5"):
        plan(pipeline, 1, names=["tokens", "warmup", "reft"])
    pipeline = read_pipeline(write_pipeline(tmp_path))
    os.utime(folder / "config.yaml", (1, 1))
    with pytest.raises(ConfigError, match=r"reft was made by something else\. Take back"):
        plan(pipeline, 1)


@pytest.mark.parametrize(
    "changes", [{"load": "sft"}, {"recipe": "online_sl"}, {"reference": "elsewhere"}]
)
def test_a_run_by_hand_of_another_recipe_or_from_other_files_is_not(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    by_hand(tmp_path, **changes)
    pipeline = read_pipeline(write_pipeline(tmp_path))
    with pytest.raises(ConfigError, match=r"reft was made by something else\. Take back"):
        plan(pipeline, 1)


def test_inputs_have_to_be_finished_and_there(tmp_path: Path) -> None:
    pipeline = read_pipeline(write_pipeline(tmp_path))
    step = plan(pipeline, 1)[3]
    with pytest.raises(DataError) as error:
        check_inputs(pipeline, step)
    assert str(error.value) == (
        "stage reft starts from tokens:tokens.model, and tokens is not finished: run it first "
        "(--stage tokens), or the whole pipeline."
    )
    finish(pipeline)
    check_inputs(pipeline, step)
    path = pipeline.folder_of("warmup", 1) / "checkpoints" / "latest"
    path.rmdir()
    with pytest.raises(DataError, match=f"warmup has finished without it: there is no {path}"):
        check_inputs(pipeline, step)
